//! The serial console: dom0's own, through the hypervisor that owns the port.
//!
//! Output is written at once; input arrives by event and waits in a queue until
//! the shell takes it.

use alloc::vec::Vec;

use async_channel::Receiver;
use frontends::{arch::hypercall, events};
use guest_abi::{Errno, VcpuId, Virq};

use crate::executor::Runtime;
use crate::shell::Terminal;

/// Pieces of input that may wait; what is typed beyond them is lost.
const INPUT_QUEUE: usize = 64;

/// The serial console.
#[derive(Clone, Debug)]
pub struct Serial {
    input: Receiver<Vec<u8>>,
}

impl Serial {
    /// Takes the console, and starts the task that reads it.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal of the console's interrupt.
    pub fn open(runtime: &Runtime) -> Result<Self, Errno> {
        let port = runtime.listen(events::bind_virq(Virq::Console, VcpuId::new(0))?);
        let (sender, input) = async_channel::bounded(INPUT_QUEUE);
        runtime.spawn(async move {
            loop {
                let mut buffer = [0; 128];
                // What was typed before this runs raised its event before, too.
                let count = hypercall::console_read(&mut buffer);
                if count == 0 {
                    port.wait().await;
                } else if sender.try_send(buffer[..count].to_vec()).is_err() && sender.is_closed() {
                    return;
                }
            }
        });
        Ok(Self { input })
    }

    /// The next piece of what was typed. Two readers take turns.
    pub async fn read(&self) -> Vec<u8> {
        // The reading task ends only when every `Serial` is gone.
        self.input.recv().await.unwrap_or_default()
    }

    /// Prints.
    pub fn write(&self, text: &[u8]) {
        frontends::console::write(text);
    }
}

impl Terminal for Serial {
    fn read(&self) -> impl Future<Output = Vec<u8>> {
        Self::read(self)
    }

    fn write(&self, bytes: &[u8]) {
        Self::write(self, bytes);
    }
}

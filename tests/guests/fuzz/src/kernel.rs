//! The kernel.

use core::ops::Range;

use frontends::{
    arch::misbehave,
    guest_abi::{Hypercall, PAGE_SIZE, VcpuId, sched::ShutdownReason},
    memory::{Page, VIRT_BASE},
    println, sched, smp,
    start::StartOfDay,
};
use spin::Once;

use crate::random::Random;

/// Calls between two lines on the console.
const CALLS_A_LINE: u64 = 10_000;
/// Numbers that the hypercall page has room for.
const NUMBERS: u64 = 64;
/// Pages of the kernel's image, about.
const IMAGE: Range<u64> = 0x200..0x240;

/// Seed, pages and the one number, for the second vCPU.
static PLAN: Once<(u64, u64, Option<u64>)> = Once::new();

/// Makes calls until the count is reached, or one of them ends it.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    let number = |name| start.argument(name).and_then(|text| text.parse().ok());
    let seed = number("seed").unwrap_or(1);
    let calls: u64 = number("calls").unwrap_or(20_000);
    println!("seed {seed}, {calls} calls");
    let (pages, only) = (start.nr_pages(), number("only"));
    PLAN.call_once(|| (seed, pages, only));
    if smp::start(VcpuId::new(1), second).is_ok() {
        println!("two at once");
    }
    let mut fuzzer = Fuzzer::new(seed, pages, only);
    for made in 0..calls {
        if made % CALLS_A_LINE == 0 {
            println!("{made}");
        }
        fuzzer.call();
    }
    println!("verdict: {calls} calls made");
    if start.argument("last") == Some("iret") {
        misbehave::return_to(core::array::from_fn(|_| fuzzer.value()));
    }
    sched::shutdown(ShutdownReason::Poweroff)
}

/// What the second vCPU does, as long as the first lives: the same with another seed.
fn second(_vcpu: VcpuId) -> ! {
    const OTHER: u64 = 1 << 32;
    let (seed, pages, only) = *PLAN.wait();
    let mut fuzzer = Fuzzer::new(seed + OTHER, pages, only);
    loop {
        fuzzer.call();
    }
}

/// What arguments are made of.
struct Fuzzer {
    random: Random,
    only: Option<u64>,
    nr_pages: u64,
    /// What pointers lead to: structures at random.
    scratch: [Page; 2],
}

impl Fuzzer {
    fn new(seed: u64, nr_pages: u64, only: Option<u64>) -> Self {
        let page = || Page::zeroed().expect("two pages");
        Self {
            random: Random::new(seed),
            only,
            nr_pages,
            scratch: [page(), page()],
        }
    }

    /// Makes one call.
    fn call(&mut self) {
        let number = self.only.unwrap_or_else(|| self.random.below(NUMBERS));
        self.fill();
        let mut args = [0; 6];
        for arg in &mut args {
            *arg = self.value();
        }
        if self.ends_it(number, &mut args) && self.random.below(256) != 0 {
            return;
        }
        misbehave::any_hypercall(number, args);
    }

    /// Whether a call would end the sequence, or put it to sleep: few may.
    fn ends_it(&mut self, number: u64, args: &mut [u64; 6]) -> bool {
        const YIELD: u64 = 0;
        if number == Hypercall::SchedOp.number() {
            args[0] = if self.random.below(2) == 0 {
                YIELD
            } else {
                args[0]
            };
            return matches!(args[0] & 0xffff_ffff, 1..=5);
        }
        // Any of the vCPU's own operations may take it down; a null trap table, and a stack that
        // leads nowhere, only show at the next exception.
        let down = number == Hypercall::VcpuOp.number() && args[0] & 0xffff_ffff == 2;
        down || number == Hypercall::Iret.number()
    }

    /// Fills a part of the scratch pages anew.
    fn fill(&mut self) {
        for _ in 0..16 {
            let index = self.random.below(2);
            let word = self.random.below(24) * 8;
            let value = self.value();
            let page = &self.scratch[usize::from(index != 0)];
            let word = usize::try_from(word).unwrap_or(0);
            page.u64(word)
                .store(value, core::sync::atomic::Ordering::Relaxed);
        }
    }

    /// One argument, or one word of a structure.
    fn value(&mut self) -> u64 {
        const WILD: [u64; 10] = [
            0x7ff0,
            0x7ff1,
            0xdead_0000,
            0x7fff_ffff_fff8,
            0x8000_0000_0000_0000,
            0xffff_7fff_ffff_fff8,
            0xffff_8000_0000_0000,
            0xffff_8300_0010_0000,
            0xffff_82d0_8020_0000,
            u64::MAX - 7,
        ];
        match self.random.below(16) {
            0..=3 => self.random.below(8),
            4 => self.random.below(1024),
            5..=7 => self.scratch_address(),
            8 => self.frame(),
            9 => self.frame() << 12 | self.random.below(4),
            10 => self.frame() << 12 | self.random.pick(&[0x61, 0x63, 0x65, 0x67, 0xe7, 0x1e7]),
            11 => self.frame() << 12 | self.random.below(512) << 3 | self.random.below(4),
            12 => VIRT_BASE + self.page() * PAGE_SIZE as u64,
            13 => self.random.pick(&WILD),
            14 => 1 << self.random.below(64),
            _ => self.random.next(),
        }
    }

    /// An address in a scratch page.
    fn scratch_address(&mut self) -> u64 {
        let index = usize::from(self.random.below(2) != 0);
        let offset = self.random.pick(&[0, 0, 0, 8, 64, 4, 4088, 4095]);
        VIRT_BASE + self.scratch[index].pfn().get() * PAGE_SIZE as u64 + offset
    }

    /// A page of the guest: seldom one of its image, without which it would not come far.
    fn page(&mut self) -> u64 {
        let page = self.random.below(self.nr_pages);
        match IMAGE.contains(&page) && self.random.below(64) != 0 {
            true => page + IMAGE.end,
            false => page,
        }
    }

    /// The frame of a page: an ordinary one, or a page table. The builder gives frames in order.
    fn frame(&mut self) -> u64 {
        let own = self.scratch[0].frame().get();
        let page = self.page();
        own.wrapping_add(page)
            .wrapping_sub(self.scratch[0].pfn().get())
    }
}

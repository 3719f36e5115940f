//! The server against a scripted host.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use async_channel::{Receiver, Sender};

use super::frame::{Decoder, encode, preamble};
use super::protocol::{FileId, SessionId, ToDom0, ToHost, VERSION};
use super::server::{Commands, serve};
use crate::executor::{Runtime, tests::FakePlatform};
use crate::io::Stdio;

/// What `long` prints: no multiple of what a message holds.
const LONG: usize = 100_000;

/// `cat`: input to output; `size FILE`: a file's length; `long`: much at once; `hang`: for ever;
/// else: status 7.
struct Script;

impl Commands for Script {
    fn run(&self, argv: Vec<String>, stdio: Stdio) -> Pin<Box<dyn Future<Output = u8>>> {
        Box::pin(async move {
            match argv.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["cat"] => {
                    while let Some(bytes) = stdio.read().await {
                        stdio.out(bytes).await.unwrap();
                    }
                    0
                }
                ["size", path] => match stdio.open(path).await {
                    Ok(mut file) => {
                        let bytes = file.read_to_end(1 << 20).await.unwrap();
                        stdio.out(bytes.len().to_string()).await.unwrap();
                        0
                    }
                    Err(error) => {
                        stdio.err(error.to_string()).await.unwrap();
                        1
                    }
                },
                ["long"] => {
                    stdio.out(alloc::vec![b'x'; LONG]).await.unwrap();
                    0
                }
                ["hang"] => core::future::pending().await,
                _ => 7,
            }
        })
    }
}

/// The host's end.
struct Host {
    to: Sender<Vec<u8>>,
    from: Receiver<Vec<u8>>,
    decoder: Decoder,
}

impl Host {
    async fn say(&self, message: ToDom0) {
        self.to.send(encode(&message).unwrap()).await.unwrap();
    }

    async fn hear(&mut self) -> ToHost {
        loop {
            if let Some(message) = self.decoder.next_message() {
                return message;
            }
            let bytes = self.from.recv().await.unwrap();
            self.decoder.push(&bytes);
        }
    }

    /// The next message that is no credit.
    async fn hear_news(&mut self) -> ToHost {
        loop {
            match self.hear().await {
                ToHost::StdinCredit { .. } | ToHost::FileCredit { .. } => {}
                news => return news,
            }
        }
    }

    async fn hello(&mut self) {
        self.to.send(preamble()).await.unwrap();
        self.say(ToDom0::Hello { version: VERSION }).await;
        assert_eq!(self.hear().await, ToHost::Ready { version: VERSION });
    }

    async fn exec(&self, session: SessionId, words: &[&str]) {
        let argv = words.iter().map(ToString::to_string).collect();
        self.say(ToDom0::Exec {
            session,
            argv,
            terminal: None,
        })
        .await;
    }
}

fn with_host<F: Future<Output = ()> + 'static>(talk: impl FnOnce(Host) -> F + 'static) {
    let runtime = Runtime::new(FakePlatform::default());
    let (to, input) = async_channel::bounded(4);
    let (output, from) = async_channel::bounded(4);
    runtime.spawn(serve(runtime.clone(), Rc::new(Script), input, output));
    runtime.block_on(talk(Host {
        to,
        from,
        decoder: Decoder::new(),
    }));
}

const FIRST: SessionId = SessionId(1);
const SECOND: SessionId = SessionId(2);

#[test]
fn input_comes_back_and_the_status_is_the_last_word() {
    with_host(|mut host| async move {
        host.hello().await;
        host.exec(FIRST, &["cat"]).await;
        host.say(ToDom0::Stdin {
            session: FIRST,
            bytes: b"abc".to_vec(),
        })
        .await;
        assert_eq!(
            host.hear_news().await,
            ToHost::Stdout {
                session: FIRST,
                bytes: b"abc".to_vec()
            }
        );
        host.say(ToDom0::StdinEnd { session: FIRST }).await;
        assert_eq!(
            host.hear_news().await,
            ToHost::Exit {
                session: FIRST,
                status: 0
            }
        );
    });
}

#[test]
fn what_is_printed_at_once_may_be_longer_than_a_message() {
    with_host(|mut host| async move {
        host.hello().await;
        host.exec(FIRST, &["long"]).await;
        let mut heard = 0;
        loop {
            match host.hear_news().await {
                ToHost::Stdout { bytes, .. } => heard += bytes.len(),
                news => {
                    assert!(matches!(news, ToHost::Exit { status: 0, .. }), "{news:?}");
                    break;
                }
            }
        }
        assert_eq!(heard, LONG);
    });
}

#[test]
fn a_session_that_reads_nothing_holds_up_no_other() {
    with_host(|mut host| async move {
        host.hello().await;
        host.exec(FIRST, &["hang"]).await;
        for _ in 0..16 {
            host.say(ToDom0::Stdin {
                session: FIRST,
                bytes: b"x".to_vec(),
            })
            .await;
        }
        host.exec(SECOND, &["other"]).await;
        assert_eq!(
            host.hear_news().await,
            ToHost::Exit {
                session: SECOND,
                status: 7
            }
        );
    });
}

#[test]
fn a_file_travels_in_chunks_and_a_refusal_in_words() {
    with_host(|mut host| async move {
        host.hello().await;
        host.exec(FIRST, &["size", "/tmp/f"]).await;
        let file = FileId(0);
        let asked = ToHost::OpenFile {
            session: FIRST,
            file,
            path: "/tmp/f".to_string(),
        };
        assert_eq!(host.hear_news().await, asked);
        host.say(ToDom0::FileOpened {
            session: FIRST,
            file,
            size: 6,
        })
        .await;
        for _ in 0..2 {
            host.say(ToDom0::FileChunk {
                session: FIRST,
                file,
                bytes: b"abc".to_vec(),
            })
            .await;
        }
        host.say(ToDom0::FileEnd {
            session: FIRST,
            file,
        })
        .await;
        assert_eq!(
            host.hear_news().await,
            ToHost::Stdout {
                session: FIRST,
                bytes: b"6".to_vec()
            }
        );
        assert_eq!(
            host.hear_news().await,
            ToHost::Exit {
                session: FIRST,
                status: 0
            }
        );

        host.exec(SECOND, &["size", "none"]).await;
        host.hear_news().await;
        let reason = "no such file".to_string();
        host.say(ToDom0::FileRefused {
            session: SECOND,
            file,
            reason,
        })
        .await;
        let words = ToHost::Stderr {
            session: SECOND,
            bytes: b"no such file".to_vec(),
        };
        assert_eq!(host.hear_news().await, words);
        assert_eq!(
            host.hear_news().await,
            ToHost::Exit {
                session: SECOND,
                status: 1
            }
        );
    });
}

#[test]
fn a_cancelled_command_ends_and_its_number_can_be_used_again() {
    with_host(|mut host| async move {
        host.hello().await;
        host.exec(FIRST, &["hang"]).await;
        host.say(ToDom0::Cancel { session: FIRST }).await;
        assert_eq!(
            host.hear_news().await,
            ToHost::Exit {
                session: FIRST,
                status: 130
            }
        );
        host.exec(FIRST, &["other"]).await;
        assert_eq!(
            host.hear_news().await,
            ToHost::Exit {
                session: FIRST,
                status: 7
            }
        );
    });
}

#[test]
fn a_host_lost_in_the_middle_of_a_frame_finds_a_clean_table() {
    with_host(|mut host| async move {
        host.hello().await;
        host.exec(FIRST, &["hang"]).await;
        let cut = encode(&ToDom0::Stdin {
            session: FIRST,
            bytes: alloc::vec![1; 500],
        })
        .unwrap();
        host.to.send(cut[..100].to_vec()).await.unwrap();
        host.hello().await;
        host.exec(FIRST, &["other"]).await;
        assert_eq!(
            host.hear_news().await,
            ToHost::Exit {
                session: FIRST,
                status: 7
            }
        );
    });
}

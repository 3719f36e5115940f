//! The relay and the client, against a dom0 made of a few lines.

use std::collections::HashMap;
use std::fs;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use dom0::mgmt::protocol::FileId;

use super::*;
use crate::client::{Event, Session};
use crate::machine::HostDir;
use crate::machine::folder::RELAY_SOCKET;
use crate::paths::Paths;

/// A relay whose dom0 knows four commands:
/// `say WORDS…`, `copy` (input to output), `read FILE`, `wait` (for ever).
struct Fixture {
    host: HostDir,
    /// Keeps the folder locked, as the relay's process does.
    _owner: HostDir,
    cancelled: std::sync::mpsc::Receiver<SessionId>,
    paths: Paths,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("radon-relay-{name}-{}", std::process::id()));
        let paths = Paths::at(root);
        let owner = HostDir::create(&paths, name).unwrap();
        let listener = UnixListener::bind(owner.socket(RELAY_SOCKET)).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (cancels, cancelled) = channel();
        thread::spawn(move || serve(ours, &listener));
        thread::spawn(move || {
            Dom0 {
                stream: theirs,
                waiting: HashMap::new(),
                cancels,
            }
            .run()
        });
        let host = HostDir::open(&paths, name).unwrap();
        Self {
            host,
            _owner: owner,
            cancelled,
            paths,
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.paths.root());
    }
}

struct Dom0 {
    stream: UnixStream,
    waiting: HashMap<SessionId, &'static str>,
    cancels: std::sync::mpsc::Sender<SessionId>,
}

impl Dom0 {
    fn run(mut self) {
        let mut decoder = Decoder::new();
        let mut buffer = vec![0; 1000];
        while let Some(bytes) = read(&mut self.stream, &mut buffer) {
            decoder.push(bytes);
            while let Some(message) = decoder.next_message() {
                self.hear(message);
            }
        }
    }

    fn say(&mut self, message: &ToHost) {
        self.stream
            .write_all(&frame::encode(message).unwrap())
            .unwrap();
    }

    fn hear(&mut self, message: ToDom0) {
        match message {
            ToDom0::Hello { .. } => {
                self.stream.write_all(&frame::preamble()).unwrap();
                self.say(&ToHost::Ready { version: VERSION });
            }
            ToDom0::Exec { session, argv, .. } => match argv[0].as_str() {
                "say" => {
                    self.say(&ToHost::Stdout {
                        session,
                        bytes: argv[1..].join(" ").into(),
                    });
                    self.say(&ToHost::Exit { session, status: 7 });
                }
                "read" => {
                    let path = argv[1].clone();
                    self.say(&ToHost::OpenFile {
                        session,
                        file: FileId(3),
                        path,
                    });
                }
                _ => drop(self.waiting.insert(session, "")),
            },
            ToDom0::Stdin { session, bytes } => {
                self.say(&ToHost::Stdout { session, bytes });
                self.say(&ToHost::StdinCredit { session, chunks: 1 });
            }
            ToDom0::FileChunk {
                session,
                file,
                bytes,
            } => {
                self.say(&ToHost::Stdout { session, bytes });
                self.say(&ToHost::FileCredit {
                    session,
                    file,
                    chunks: 1,
                });
            }
            ToDom0::FileRefused {
                session, reason, ..
            } => {
                self.say(&ToHost::Stderr {
                    session,
                    bytes: reason.into(),
                });
                self.say(&ToHost::Exit { session, status: 1 });
            }
            ToDom0::StdinEnd { session } if self.waiting.remove(&session).is_some() => {
                self.say(&ToHost::Exit { session, status: 0 });
            }
            ToDom0::FileEnd { session, .. } => self.say(&ToHost::Exit { session, status: 0 }),
            ToDom0::Cancel { session } => {
                self.cancels.send(session).unwrap();
                self.say(&ToHost::Exit {
                    session,
                    status: 130,
                });
            }
            _ => {}
        }
    }
}

#[test]
fn output_and_status_come_across() {
    let fixture = Fixture::new("say");
    for word in ["one", "two"] {
        let output = Session::run(&fixture.host, &["say", "hello", word]).unwrap();
        assert_eq!(
            (output.stdout.as_str(), output.status),
            (&*format!("hello {word}"), 7)
        );
    }
}

#[test]
fn a_host_file_longer_than_its_credit_arrives_whole() {
    let fixture = Fixture::new("read");
    let file = fixture.paths.root().join("long");
    let text: String = (0..200_000).map(|line| format!("{line}\n")).collect();
    fs::write(&file, &text).unwrap();
    let output = Session::run(&fixture.host, &["read", file.to_str().unwrap()]).unwrap();
    assert_eq!(output.status, 0);
    assert!(output.stdout == text);
}

#[test]
fn a_host_file_that_is_not_there_is_refused_with_a_remedy() {
    let fixture = Fixture::new("missing");
    let output = Session::run(&fixture.host, &["read", "/nowhere/at/all"]).unwrap();
    assert_eq!(output.status, 1);
    assert!(
        output.stderr.contains("check the path"),
        "{}",
        output.stderr
    );
}

#[test]
fn input_longer_than_its_credit_comes_back() {
    let fixture = Fixture::new("copy");
    let mut session = Session::start(&fixture.host, vec!["copy".into()], None).unwrap();
    let input = session.input();
    thread::spawn(move || {
        for _ in 0..100 {
            input.send(&[b'x'; 500]).unwrap();
        }
        input.end().unwrap();
    });
    let mut count = 0;
    loop {
        match session.next_event().unwrap() {
            Event::Stdout(bytes) => count += bytes.len(),
            Event::Exit(status) => break assert_eq!(status, 0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(count, 50_000);
}

#[test]
fn sessions_run_side_by_side_and_one_that_goes_away_is_cancelled() {
    let fixture = Fixture::new("cancel");
    let mut waiting = Session::start(&fixture.host, vec!["wait".into()], None).unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    assert!(waiting.next_event_before(Some(deadline)).is_err());
    assert_eq!(
        Session::run(&fixture.host, &["say", "hi"]).unwrap().stdout,
        "hi"
    );
    drop(waiting);
    fixture
        .cancelled
        .recv_timeout(Duration::from_secs(10))
        .unwrap();
    assert_eq!(
        Session::run(&fixture.host, &["say", "hi"]).unwrap().stdout,
        "hi"
    );
}

#[test]
fn two_hosts_of_one_name_cannot_run() {
    let fixture = Fixture::new("twice");
    assert!(HostDir::create(&fixture.paths, "twice").is_err());
    assert!(HostDir::open(&fixture.paths, "other").is_err());
    assert!(HostDir::create(&fixture.paths, "../escape").is_err());
}

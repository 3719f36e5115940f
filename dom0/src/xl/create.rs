//! `xl create`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::{Args, wants};
use super::{Context, Failure, Outcome, Verb, console, failure};
use crate::config::{DomainConfig, Sources};
use crate::io::{FileError, FileStream};
use crate::storage::OWN_FILES;
use crate::toolstack::Images;

/// Longest configuration file.
const MAX_CONFIG: u64 = 1 << 20;
/// Longest kernel or ramdisk file.
const MAX_IMAGE: u64 = 512 << 20;

pub(super) const VERB: Verb = Verb {
    name: "create",
    usage: "[-p] [-c] FILE|key=value…",
    summary: "Create a domain from a configuration file, from settings, or from both",
    options: &[
        ("-p", "Leave the domain paused"),
        ("-c", "Connect to its console"),
        ("-q --quiet", "Say nothing"),
    ],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    if args.words.is_empty() {
        return Err(wants(&VERB, 1));
    }
    let config = configuration(&context, &args).await?;
    let kernel = read(&context, &config.kernel).await?;
    let ramdisk = match &config.ramdisk {
        Some(file) => Some(read(&context, file).await?),
        None => None,
    };
    let images = Images {
        kernel: context.toolstack.keep_image(kernel),
        ramdisk: ramdisk.map(|ramdisk| context.toolstack.keep_image(ramdisk)),
    };
    // The console is joined before the domain runs: whoever asks for it sees the first byte,
    // though the log would show it anyway.
    let guest = context
        .toolstack
        .create(config, images, args.has("-p"))
        .await
        .map_err(failure)?;
    if args.has("-c") {
        console::attach(&context, &guest).await
    } else {
        Ok(())
    }
}

/// The configuration: a file, if the first word is one, and settings.
async fn configuration(context: &Context, args: &Args) -> Result<DomainConfig, Failure> {
    let mut sources = Sources::default();
    for word in &args.words {
        if word.contains('=') {
            sources.argument(word).map_err(failure)?;
            continue;
        }
        if !args.has("-q --quiet") {
            context.line(format!("Parsing config from {word}")).await?;
        }
        let text = read_limited(context, word, MAX_CONFIG).await?;
        let text = String::from_utf8(text).map_err(|_| {
            failure(format!(
                "{word}: not a text file; give a configuration file"
            ))
        })?;
        sources.file(word, &text).map_err(failure)?;
    }
    let (config, warnings) = sources.finish().map_err(failure)?;
    for warning in warnings {
        context.note(format!("{warning}")).await?;
    }
    Ok(config)
}

async fn read(context: &Context, file: &str) -> Result<Vec<u8>, Failure> {
    read_limited(context, file, MAX_IMAGE).await
}

/// Reads a file: one of the caller's, or, with the prefix that says so or for a caller who has
/// no files, one of dom0's own.
async fn read_limited(context: &Context, file: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let own = || async {
        let storage = context.toolstack.storage();
        storage.read_file(file, limit).await.map_err(failure)
    };
    if file.starts_with(OWN_FILES) {
        return own().await;
    }
    match context.stdio.open(file).await {
        Ok(stream) => read_stream(stream, file, limit).await,
        Err(FileError::NoFiles) => own().await,
        Err(error) => Err(failure(format!("{file}: {error}"))),
    }
}

/// Reads a file of the caller's, growing only as far as dom0's memory goes.
async fn read_stream(mut stream: FileStream, file: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let complain = |error: &dyn core::fmt::Display| failure(format!("{file}: {error}"));
    let mut bytes: Vec<u8> = Vec::new();
    let no_room = || complain(&"too big for dom0's memory; raise dom0_mem or use a smaller file");
    let size = usize::try_from(stream.size().min(limit)).unwrap_or(0);
    bytes.try_reserve_exact(size).map_err(|_| no_room())?;
    while let Some(chunk) = stream.next().await.map_err(|error| complain(&error))? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(complain(&format_args!("longer than {} MiB", limit >> 20)));
        }
        bytes.try_reserve(chunk.len()).map_err(|_| no_room())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

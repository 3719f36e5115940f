//! `xl xenstore-ls`: the whole of xenstore, a node a line, as `xenstore-ls -f -p` prints it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use backends::console::plain;
use backends::xenstore::{Error, Local};

use super::args::Args;
use super::{Context, Outcome, Verb, failure};

pub(super) const VERB: Verb = Verb {
    name: "xenstore-ls",
    usage: "[PATH]",
    summary: "Show xenstore: every node with its value and permissions",
    options: &[
        ("-f", "Accepted for compatibility"),
        ("-p", "Accepted for compatibility"),
    ],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let path = args.at_most_one(&VERB)?.unwrap_or("/");
    let listing = context.toolstack.with_store(|store| {
        store.as_dom0(|root| {
            let mut text = String::new();
            below(root, path, &mut text)?;
            Ok(text)
        })
    });
    let text = listing.map_err(|error| failure(format!("{path}: {error}")))?;
    Ok(context.stdio.out(text).await?)
}

fn below(root: &mut Local<'_, '_>, path: &str, text: &mut String) -> Result<(), Error> {
    for name in root.list(path)? {
        let path = format!("{}/{name}", path.trim_end_matches('/'));
        let value = plain(&root.read_bytes(&path)?).replace('\n', "\\n");
        let permissions = root.permissions(&path)?.to_wire();
        let permissions = String::from_utf8_lossy(&permissions);
        let permissions = permissions.trim_end_matches('\0').replace('\0', ",");
        text.push_str(&format!("{path} = \"{value}\"   ({permissions})\n"));
        below(root, &path, text)?;
    }
    Ok(())
}

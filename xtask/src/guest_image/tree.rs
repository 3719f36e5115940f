//! The tree of the image's files, by `mmdebstrap`, from where the machine's own apt gets its
//! packages.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::quietly;
use super::recipe::Recipe;
use crate::command;
use crate::progress::Step;
use crate::setup::packages;

/// Where mmdebstrap may look for the keys that sign Debian's lists, if apt has none of its own.
const KEYRINGS: &str = "/usr/share/keyrings";
/// Not worth their space in a domain.
const LEFT_OUT: [&str; 3] = [
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/doc/*",
];

/// A release of Debian, and apt's sources for it.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    name: String,
    /// Lines as in apt's `sources.list`.
    sources: Vec<String>,
}

/// Makes the tree and tells where it lies. What a run that was cut short has left goes first.
///
/// It is packed and unpacked on the way: while it is made, the system's own folders are mounted
/// into it, and a folder with mounts in it is none that one wants to remove.
pub(super) fn make(folder: &Path, recipe: &Recipe, step: &Step) -> Result<PathBuf> {
    let (overlay, tree) = (folder.join("overlay"), folder.join("tree"));
    let archive = folder.join("tree.tar");
    for old in [&overlay, &tree] {
        remove(old)?;
    }
    write_overlay(&overlay, recipe)?;
    bootstrap(&release()?, recipe, &overlay, &archive, step)?;
    fs::create_dir(&tree)?;
    step.at("unpacking");
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xf"]);
    quietly(tar.arg(&archive).arg("-C").arg(&tree))?;
    fs::remove_file(&archive)?;
    remove(&overlay)?;
    Ok(tree)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// Writes the recipe's files, to be copied into the tree.
fn write_overlay(overlay: &Path, recipe: &Recipe) -> Result<()> {
    for (path, contents, mode) in recipe.files() {
        let file = overlay.join(path);
        fs::create_dir_all(file.parent().unwrap_or(overlay))?;
        fs::write(&file, contents)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn bootstrap(
    release: &Release,
    recipe: &Recipe,
    overlay: &Path,
    archive: &Path,
    step: &Step,
) -> Result<()> {
    let folder = overlay.parent().unwrap_or(overlay);
    let script = folder.join("finish.sh");
    fs::write(&script, recipe.script())?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--mode=root", "--variant=minbase", "--architectures=amd64"]);
    mmdebstrap.args([
        "--aptopt=Acquire::Languages \"none\"",
        "--dpkgopt=force-unsafe-io",
    ]);
    mmdebstrap.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    mmdebstrap.arg(format!("--include={}", recipe.packages()));
    // The files must be there before the packages, and as they are after them.
    let copy = hook("cp -rT --preserve=mode", overlay, "\"$1\"");
    mmdebstrap.args([
        with("--setup-hook=", &copy),
        with("--customize-hook=", &copy),
    ]);
    let finish = hook("chroot \"$1\" sh <", &script, "");
    mmdebstrap.arg(with("--customize-hook=", &finish));
    if !Path::new("/etc/apt/trusted.gpg.d").is_dir() {
        mmdebstrap.arg(format!("--keyring={KEYRINGS}"));
    }
    mmdebstrap.arg(&release.name).arg(archive).arg("-");
    mmdebstrap.env("TMPDIR", folder);
    let outcome = run(&mut mmdebstrap, &release.sources, step);
    fs::remove_file(&script)?;
    outcome
}

/// A shell's command with a file's name in it; no quote in the name gets out of its quotes.
fn hook(before: &str, file: &Path, after: &str) -> String {
    let file = file.display().to_string().replace('\'', r"'\''");
    format!("{before} '{file}' {after}")
}

fn with(option: &str, value: &str) -> OsString {
    format!("{option}{value}").into()
}

/// Runs it; shows each of its steps, and takes its last words for the error.
fn run(mmdebstrap: &mut Command, sources: &[String], step: &Step) -> Result<()> {
    const KEPT: usize = 50;
    mmdebstrap.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = mmdebstrap
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run mmdebstrap")?;
    if let Some(stdin) = child.stdin.take() {
        tell(stdin, sources)?;
    }
    let mut last = VecDeque::new();
    let stderr = child.stderr.take().into_iter();
    for line in stderr.flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line?;
        if let Some(part) = line.strip_prefix("I: ") {
            step.at(part.trim_end_matches('.'));
        }
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "mmdebstrap failed ({status}): {}",
            reason(last.make_contiguous())
        );
    }
    Ok(())
}

fn tell(mut stdin: ChildStdin, sources: &[String]) -> Result<()> {
    for line in sources {
        writeln!(stdin, "{line}")?;
    }
    Ok(())
}

/// Of a failed run's words, those that say most: apt's own error comes before mmdebstrap's.
fn reason(lines: &[String]) -> &str {
    let is_error = |line: &&String| line.starts_with("E: ");
    let line = lines.iter().find(is_error).or(lines.last());
    line.map_or("no reason", |line| line.trim_start_matches("E: ").trim())
}

/// The release the machine's apt knows, which is asked for its lists first if it has none.
fn release() -> Result<Release> {
    let targets = || {
        let format = "$(CREATED_BY)|$(ORIGIN)|$(CODENAME)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
        command::capture(Command::new("apt-get").args(["indextargets", "--format", format]))
    };
    if let Some(release) = of_targets(&targets()?) {
        return Ok(release);
    }
    packages::update()?;
    of_targets(&targets()?)
        .context("the apt of this machine has no Debian to make it from: run it on Debian")
}

/// Reads apt's own list of what it fetches: the main part of one release, and its updates.
fn of_targets(targets: &str) -> Option<Release> {
    let mut names = Vec::new();
    let mut sources = Vec::new();
    for line in targets.lines() {
        let fields: Vec<_> = line.split('|').collect();
        let ["Packages", "Debian", name, uri, release, "main"] = fields[..] else {
            continue;
        };
        names.push(name);
        let source = format!("deb {uri} {release} main");
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    let name = names.iter().find(|name| !name.contains('-'))?;
    let of_it = |source: &String| {
        let release = source.split(' ').nth(2).unwrap_or_default();
        release.split('-').next() == Some(*name)
    };
    sources.retain(of_it);
    Some(Release {
        name: (*name).to_owned(),
        sources,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_those_of_one_release_of_debian() {
        let targets = "\
            Packages|Debian|bookworm|http://a/debian/|bookworm|main\n\
            Translations|Debian|bookworm|http://a/debian/|bookworm|main\n\
            Packages|Other|nodistro|http://b/|nodistro|main\n\
            Packages|Debian|trixie|http://a/debian/|trixie|main\n\
            Packages|Debian|bookworm-security|http://c/|bookworm-security|main\n\
            Packages|Debian|bookworm|http://a/debian/|bookworm|contrib\n";
        let release = of_targets(targets).expect("there is one");
        assert_eq!(release.name, "bookworm");
        assert_eq!(
            release.sources,
            [
                "deb http://a/debian/ bookworm main",
                "deb http://c/ bookworm-security main"
            ]
        );
    }

    #[test]
    fn no_debian_is_no_release() {
        assert_eq!(
            of_targets("Packages|Ubuntu|noble|http://a/|noble|main\n"),
            None
        );
    }

    #[test]
    fn the_first_error_is_the_reason() {
        let lines = ["I: begun", "E: no such package", "E: apt failed"].map(str::to_owned);
        assert_eq!(reason(&lines), "no such package");
        assert_eq!(reason(&[]), "no reason");
    }

    #[test]
    fn a_quote_in_a_name_stays_inside_its_quotes() {
        assert_eq!(hook("cp", Path::new("/a'b"), "x"), r"cp '/a'\''b' x");
    }
}

//! One request, one reply: what the messages on the wire mean.
//!
//! A payload is a row of strings, each ended by a NUL; a value is whatever follows the last one
//! and may be any bytes. What doesn't parse is `EINVAL`, and changes nothing.

use super::store::{ClientId, Store};
use super::{Error, Path, Permission, Permissions, Special, TransactionId, WatchPath};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;
use guest_abi::ids::DomId;
use guest_abi::io::xs_wire::{MessageHeader, MessageType, PAYLOAD_MAX};

/// Longest token of a watch: an event with it and the longest path still fits a message.
const MAX_TOKEN: usize = 1000;

/// What most requests are answered with.
const OK: &[u8] = b"OK\0";

/// A request, taken apart.
struct Request<'a> {
    client: ClientId,
    transaction: Option<TransactionId>,
    payload: &'a [u8],
}

/// Carries out the request of `client`; the reply's payload, or the refusal.
pub(super) fn serve(
    store: &mut Store,
    client: ClientId,
    header: &MessageHeader,
    payload: &[u8],
) -> Result<Vec<u8>, Error> {
    use MessageType as M;

    let request = Request {
        client,
        transaction: TransactionId::new(header.tx_id),
        payload,
    };
    match MessageType::from_number(header.kind).ok_or(Error::Unknown)? {
        M::Control => control(store, &request),
        M::Directory => directory(store, &request),
        M::DirectoryPart => directory_part(store, &request),
        M::Read => read(store, &request),
        M::Write => write(store, &request),
        M::Mkdir => make_directory(store, &request),
        M::Rm => remove(store, &request),
        M::GetPerms => get_permissions(store, &request),
        M::SetPerms => set_permissions(store, &request),
        M::Watch => watch(store, &request),
        M::Unwatch => unwatch(store, &request),
        M::ResetWatches => done(store.reset(client)),
        M::TransactionStart => transaction_start(store, &request),
        M::TransactionEnd => transaction_end(store, &request),
        M::Introduce => introduce(store, &request),
        M::Release => release(store, &request),
        M::IsDomainIntroduced => is_domain_introduced(store, &request),
        M::Resume => resume(store, &request),
        M::SetTarget => set_target(store, &request),
        M::GetDomainPath => get_domain_path(&request),
        // Only the server sends these.
        M::WatchEvent | M::Error => Err(Error::Invalid),
    }
}

impl<'a> Request<'a> {
    /// The strings of the payload; all of it must be strings.
    fn strings(&self) -> Result<Vec<&'a str>, Error> {
        let body = self.payload.strip_suffix(b"\0").ok_or(Error::Invalid)?;
        body.split(|&byte| byte == 0).map(text).collect()
    }

    /// Exactly `N` strings.
    fn exactly<const N: usize>(&self) -> Result<[&'a str; N], Error> {
        self.strings()?.try_into().map_err(|_| Error::Invalid)
    }

    /// A string and what follows it.
    fn string_and_rest(&self) -> Result<(&'a str, &'a [u8]), Error> {
        let end = self
            .payload
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(Error::Invalid)?;
        let (string, rest) = self.payload.split_at(end);
        Ok((text(string)?, rest.get(1..).unwrap_or_default()))
    }

    fn resolve(&self, store: &Store, path: &str) -> Result<Path, Error> {
        Path::resolve(path, store.caller(self.client)?.domain())
    }

    fn privileged(&self, store: &Store) -> Result<(), Error> {
        if store.caller(self.client)?.is_privileged() {
            Ok(())
        } else {
            Err(Error::Denied)
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    core::str::from_utf8(bytes).map_err(|_| Error::Invalid)
}

fn done(result: Result<(), Error>) -> Result<Vec<u8>, Error> {
    result.map(|()| OK.to_vec())
}

/// A decimal number and nothing else: no sign, no spaces.
pub(super) fn parse_number<T: FromStr>(text: &str) -> Result<T, Error> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(Error::Invalid)
}

fn domain_id(text: &str) -> Result<DomId, Error> {
    let domain = DomId::new(parse_number(text)?);
    if domain.is_ordinary() {
        Ok(domain)
    } else {
        Err(Error::Invalid)
    }
}

fn read(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let [path] = request.exactly()?;
    let path = request.resolve(store, path)?;
    let value = store.edit(request.client, request.transaction, |edit| edit.read(&path))?;
    Ok(value.to_vec())
}

fn write(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let (path, value) = request.string_and_rest()?;
    let path = request.resolve(store, path)?;
    let write = |edit: &mut super::edit::Edit<'_>| edit.write(&path, value.into());
    done(store.edit(request.client, request.transaction, write))
}

fn make_directory(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let [path] = request.exactly()?;
    let path = request.resolve(store, path)?;
    done(store.edit(request.client, request.transaction, |edit| {
        edit.make_directory(&path)
    }))
}

fn remove(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let [path] = request.exactly()?;
    let path = request.resolve(store, path)?;
    done(store.edit(request.client, request.transaction, |edit| {
        edit.remove(&path)
    }))
}

/// The names below a node, each ended by a NUL, and when they last changed.
fn names(store: &mut Store, request: &Request<'_>, path: &str) -> Result<(Vec<u8>, u64), Error> {
    let path = request.resolve(store, path)?;
    store.edit(request.client, request.transaction, |edit| {
        let node = edit.directory(&path)?;
        let mut names = Vec::new();
        for (name, _) in node.children() {
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        Ok((names, node.names_moment()))
    })
}

fn directory(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let [path] = request.exactly()?;
    let (names, _) = names(store, request, path)?;
    if names.len() > PAYLOAD_MAX {
        Err(Error::TooBig)
    } else {
        Ok(names)
    }
}

/// A listing in parts, for directories too big for one message: a number that tells whether the
/// directory changed meanwhile, then whole names from the byte offset asked for; an empty name
/// ends the last part.
fn directory_part(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let [path, offset] = request.exactly()?;
    let offset: usize = parse_number(offset)?;
    let (names, generation) = names(store, request, path)?;
    let mut reply = format!("{generation}\0").into_bytes();
    let rest = names.get(offset..).unwrap_or_default();
    let room = PAYLOAD_MAX.saturating_sub(reply.len() + 1);
    let mut sent = 0;
    for name in rest.split_inclusive(|&byte| byte == 0) {
        if sent + name.len() > room {
            return Ok(reply);
        }
        sent += name.len();
        reply.extend_from_slice(name);
    }
    reply.push(0);
    Ok(reply)
}

fn get_permissions(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let [path] = request.exactly()?;
    if let Some(special) = Special::from_name(path) {
        request.privileged(store)?;
        return Ok(store.special_permissions(special).to_wire());
    }
    let path = request.resolve(store, path)?;
    let list = store.edit(request.client, request.transaction, |edit| {
        edit.permissions(&path)
    })?;
    Ok(list.to_wire())
}

fn set_permissions(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let strings = request.strings()?;
    let (&path, entries) = strings.split_first().ok_or(Error::Invalid)?;
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| Permission::parse(entry))
        .collect::<Result<_, _>>()?;
    let list = Permissions::from_entries(&entries)?;
    if let Some(special) = Special::from_name(path) {
        request.privileged(store)?;
        store.set_special_permissions(special, list);
        return Ok(OK.to_vec());
    }
    let path = request.resolve(store, path)?;
    let set = |edit: &mut super::edit::Edit<'_>| edit.set_permissions(&path, list);
    done(store.edit(request.client, request.transaction, set))
}

/// Path and token of a watch request. The token is the client's own and may be any bytes.
fn path_and_token<'a>(request: &Request<'a>) -> Result<(&'a str, &'a [u8]), Error> {
    let (path, rest) = request.string_and_rest()?;
    let token = rest.split(|&byte| byte == 0).next().unwrap_or_default();
    // Some clients send more strings behind the token; only whole ones are accepted.
    if rest.last() != Some(&0) || token.len() > MAX_TOKEN {
        return Err(Error::Invalid);
    }
    Ok((path, token))
}

fn watch(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let (path, token) = path_and_token(request)?;
    done(store.watch(request.client, path, token))
}

fn unwatch(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let (path, token) = path_and_token(request)?;
    WatchPath::resolve(path, store.caller(request.client)?.domain())?;
    done(store.unwatch(request.client, path, token))
}

fn transaction_start(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    if request.transaction.is_some() {
        return Err(Error::Busy);
    }
    let id = store.start_transaction(request.client)?;
    Ok(format!("{}\0", id.get()).into_bytes())
}

fn transaction_end(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let commit = match request.exactly()? {
        ["T"] => true,
        ["F"] => false,
        _ => return Err(Error::Invalid),
    };
    let id = request.transaction.ok_or(Error::NotFound)?;
    done(store.end_transaction(request.client, id, commit))
}

fn introduce(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    request.privileged(store)?;
    let strings = request.strings()?;
    let [domain, frame, port, ..] = *strings else {
        return Err(Error::Invalid);
    };
    let (frame, port) = (parse_number(frame)?, parse_number(port)?);
    done(store.introduce(domain_id(domain)?, frame, port).map(drop))
}

fn release(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    request.privileged(store)?;
    let [domain] = request.exactly()?;
    done(store.release(domain_id(domain)?))
}

fn is_domain_introduced(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    request.privileged(store)?;
    let [domain] = request.exactly()?;
    let domain = domain_id(domain)?;
    let answer: &[u8] = if domain == DomId::DOM0 || store.is_introduced(domain) {
        b"T\0"
    } else {
        b"F\0"
    };
    Ok(answer.to_vec())
}

/// A suspended domain goes on: nothing is kept about its suspension here.
fn resume(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    request.privileged(store)?;
    let [domain] = request.exactly()?;
    let introduced = store.is_introduced(domain_id(domain)?);
    done(introduced.then_some(()).ok_or(Error::NotFound))
}

fn set_target(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    request.privileged(store)?;
    let [domain, target] = request.exactly()?;
    done(store.set_target(domain_id(domain)?, domain_id(target)?))
}

fn get_domain_path(request: &Request<'_>) -> Result<Vec<u8>, Error> {
    let [domain] = request.exactly()?;
    Ok(format!("{}\0", Path::home(domain_id(domain)?)).into_bytes())
}

/// The server's own controls: what it may be asked, and its limits.
fn control(store: &mut Store, request: &Request<'_>) -> Result<Vec<u8>, Error> {
    request.privileged(store)?;
    let reply = match *request.strings()? {
        ["help"] => String::from("commands: help, check, quota\n\0"),
        ["check"] => String::from("OK\0"),
        ["quota"] => {
            let quota = store.quota_of(super::Caller::domain_only(DomId::new(1)));
            format!(
                "nodes: {}\nwatches: {}\nsize: {}\ntransactions: {}\n\0",
                quota.nodes, quota.watches, quota.value_bytes, quota.transactions
            )
        }
        _ => return Err(Error::Invalid),
    };
    Ok(reply.into_bytes())
}

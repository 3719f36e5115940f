//! Names of nodes: absolute, canonical, of bounded length and depth.
//!
//! A [`Path`] can only be made by the checks in this file, so nobody after it asks again whether
//! a name has empty parts, strange bytes or a thousand levels.

use super::Error;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;
use guest_abi::ids::DomId;
use guest_abi::io::xs_wire::{ABS_PATH_MAX, REL_PATH_MAX};

/// Deepest node: bounds every walk, and the stack that dropping a subtree takes.
pub const MAX_DEPTH: usize = 64;

/// The absolute name of a node: `/`, or `/` before every part and none at the end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

impl Path {
    /// The root of the tree.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Checks an absolute path.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text == "/" {
            return Ok(Self::root());
        }
        let parts = text.strip_prefix('/').ok_or(Error::Invalid)?;
        if text.len() > ABS_PATH_MAX
            || parts.split('/').any(|part| !is_name(part))
            || parts.split('/').count() > MAX_DEPTH
        {
            return Err(Error::Invalid);
        }
        Ok(Self(text.into()))
    }

    /// Checks a path as `domain` wrote it: without a leading `/` it starts at the domain's home.
    pub fn resolve(text: &str, domain: DomId) -> Result<Self, Error> {
        if text.starts_with('/') {
            return Self::new(text);
        }
        if text.len() > REL_PATH_MAX {
            return Err(Error::Invalid);
        }
        Self::new(&format!("{}/{text}", Self::home_text(domain)))
    }

    /// Where the nodes of `domain` live.
    pub fn home(domain: DomId) -> Self {
        Self(Self::home_text(domain).into())
    }

    fn home_text(domain: DomId) -> String {
        format!("/local/domain/{}", domain.get())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the root down; none for the root itself.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The last name, if this isn't the root.
    pub fn name(&self) -> Option<&str> {
        self.parts().last()
    }

    /// The node above, if this isn't the root.
    pub fn parent(&self) -> Option<Self> {
        if &*self.0 == "/" {
            return None;
        }
        match self.0.rfind('/') {
            Some(slash) if slash > 0 => self.0.get(..slash).map(|text| Self(text.into())),
            _ => Some(Self::root()),
        }
    }

    /// This path and all above it as text, the longest first, the root last.
    pub(super) fn upwards(&self) -> impl Iterator<Item = &str> {
        let text: &str = &self.0;
        let mut next = Some(text);
        core::iter::from_fn(move || {
            let here = next?;
            next = match here.rfind('/') {
                _ if here == "/" => None,
                Some(slash) if slash > 0 => here.get(..slash),
                _ => Some("/"),
            };
            Some(here)
        })
    }

    /// The part of `self` below `above`, without a leading slash; `None` if it doesn't lie below.
    pub fn below(&self, above: &Self) -> Option<&str> {
        if &*above.0 == "/" {
            return self.0.strip_prefix('/').filter(|rest| !rest.is_empty());
        }
        self.0.strip_prefix(&*above.0)?.strip_prefix('/')
    }

    /// `self` with `relative` below it.
    pub fn join(&self, relative: &str) -> Result<Self, Error> {
        match self.as_str() {
            "/" => Self::new(&format!("/{relative}")),
            above => Self::new(&format!("{above}/{relative}")),
        }
    }
}

/// Whether `part` may be the name of a node. `/` and NUL can't occur; the rest of what is allowed
/// is what existing toolstacks and guests write.
fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_@.:+,=".contains(&b))
}

impl Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two things besides nodes that can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Special {
    /// `@introduceDomain`: a domain appeared.
    IntroduceDomain,
    /// `@releaseDomain`: a domain shut down or is gone.
    ReleaseDomain,
}

impl Special {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::IntroduceDomain => "@introduceDomain",
            Self::ReleaseDomain => "@releaseDomain",
        }
    }

    /// The special of that name.
    pub fn from_name(text: &str) -> Option<Self> {
        [Self::IntroduceDomain, Self::ReleaseDomain]
            .into_iter()
            .find(|s| s.name() == text)
    }
}

/// What a watch watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchPath {
    /// A node and all below it.
    Node(Path),
    /// A special.
    Special(Special),
}

impl WatchPath {
    /// Checks what `domain` wrote.
    pub fn resolve(text: &str, domain: DomId) -> Result<Self, Error> {
        match text.strip_prefix('@') {
            Some(_) => Special::from_name(text)
                .map(Self::Special)
                .ok_or(Error::Invalid),
            None => Path::resolve(text, domain).map(Self::Node),
        }
    }

    /// The canonical name.
    pub fn to_text(&self) -> String {
        match self {
            Self::Node(path) => path.as_str().to_owned(),
            Self::Special(special) => special.name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(text: &str) -> Path {
        Path::new(text).unwrap()
    }

    #[test]
    fn a_path_has_no_empty_parts_and_no_strange_bytes() {
        for bad in [
            "", "a", "//", "/a/", "/a//b", "/a b", "/a\0b", "/\u{e4}", "/a*",
        ] {
            assert_eq!(Path::new(bad), Err(Error::Invalid), "{bad:?}");
        }
        for good in ["/", "/a", "/local/domain/1", "/vm/d44ecb24-c10f/x_y@z"] {
            assert_eq!(p(good).as_str(), good);
        }
    }

    #[test]
    fn length_and_depth_are_bounded() {
        assert!(Path::new(&format!("/{}", "a".repeat(ABS_PATH_MAX - 1))).is_ok());
        assert!(Path::new(&format!("/{}", "a".repeat(ABS_PATH_MAX))).is_err());
        assert!(Path::new(&"/a".repeat(MAX_DEPTH)).is_ok());
        assert!(Path::new(&"/a".repeat(MAX_DEPTH + 1)).is_err());
        assert!(Path::resolve(&"a".repeat(REL_PATH_MAX + 1), DomId::new(1)).is_err());
    }

    #[test]
    fn a_relative_path_starts_at_home() {
        let one = DomId::new(1);
        assert_eq!(
            Path::resolve("device/vbd", one).unwrap(),
            p("/local/domain/1/device/vbd")
        );
        assert_eq!(Path::resolve("/tool", one).unwrap(), p("/tool"));
        assert_eq!(Path::resolve("", one), Err(Error::Invalid));
    }

    #[test]
    fn below_respects_whole_names() {
        assert_eq!(p("/a/b/c").below(&p("/a")), Some("b/c"));
        assert_eq!(p("/ab").below(&p("/a")), None);
        assert_eq!(p("/a").below(&p("/a")), None);
        assert_eq!(p("/a/b").below(&Path::root()), Some("a/b"));
    }

    #[test]
    fn the_way_up_ends_at_the_root() {
        let path = p("/a/b/c");
        assert_eq!(
            path.upwards().collect::<Vec<_>>(),
            ["/a/b/c", "/a/b", "/a", "/"]
        );
        assert_eq!(path.parent(), Some(p("/a/b")));
        assert_eq!(p("/a").parent(), Some(Path::root()));
        assert_eq!(Path::root().parent(), None);
    }
}

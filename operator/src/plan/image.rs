//! Image references, as container runtimes read them, against the constitution's list.

/// An image reference, taken apart.
///
/// Without a registry it is Docker Hub's, and a single name there is in `library/`: what
/// `python:3.13` means to containerd and CRI-O (`distribution/reference`, "familiar names").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Registry and path, such as `docker.io/library/python`.
    pub repository: String,
    /// Whether a digest pins it: `@sha256:` and 64 lowercase hexadecimal digits.
    pub is_pinned: bool,
}

impl Image {
    /// Reads a reference; `None` if it is none.
    #[must_use]
    pub fn parse(reference: &str) -> Option<Self> {
        let (named, digest) = match reference.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (reference, None),
        };
        if !digest.is_none_or(is_digest) {
            return None;
        }
        let (path, tag) = match named.rsplit_once(':') {
            // A colon before the last slash is that of a port.
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (named, None),
        };
        if !tag.is_none_or(is_tag) {
            return None;
        }
        let (registry, rest) = match path.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest.to_owned()),
            Some(_) => ("docker.io", path.to_owned()),
            None => ("docker.io", format!("library/{path}")),
        };
        rest.split('/').all(is_component).then(|| Self {
            repository: format!("{registry}/{rest}"),
            is_pinned: digest.is_some(),
        })
    }

    /// Whether `pattern` lists it: the repository itself, or all below a path (`…/*`).
    #[must_use]
    pub fn is_listed_as(&self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            // The slash before the star stays: no sibling with a longer name matches.
            Some(path) => self.repository.starts_with(path),
            None => self.repository == pattern,
        }
    }
}

fn is_digest(digest: &str) -> bool {
    digest.parse::<axiom_hive_core::digest::Digest>().is_ok()
}

fn is_tag(tag: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=128).contains(&tag.len()) && tag.bytes().all(is_inner) && !tag.starts_with(['-', '.'])
}

fn is_registry(first: &str) -> bool {
    let (host, port) = match first.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (first, None),
    };
    let is_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (host.contains('.') || port.is_some() || host == "localhost")
        && !host.is_empty()
        && host.bytes().all(is_host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_component(part: &str) -> bool {
    let is_edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_inner =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let bytes = part.as_bytes();
    bytes.iter().all(|b| is_inner(*b)) && is_edge(bytes.first()) && is_edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn repository(reference: &str) -> Option<String> {
        Image::parse(reference).map(|image| image.repository)
    }

    #[test]
    fn references_are_read_as_container_runtimes_read_them() {
        for (reference, expected) in [
            ("python", "docker.io/library/python"),
            ("python:3.13", "docker.io/library/python"),
            ("team/runtime", "docker.io/team/runtime"),
            ("registry.example.com/a/b:1.0", "registry.example.com/a/b"),
            ("localhost:5000/a", "localhost:5000/a"),
            ("localhost/a", "localhost/a"),
        ] {
            assert_eq!(repository(reference).as_deref(), Some(expected));
        }
        for bad in [
            "",
            ":1",
            "a:",
            "A",
            "a//b",
            "a/",
            "registry.example.com/",
            "a@sha256:0",
            "a b",
            "a:b:c/d",
        ] {
            assert_eq!(repository(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_a_digest_pins() {
        let is_pinned = |text: &str| Image::parse(text).map(|image| image.is_pinned);
        assert_eq!(is_pinned("a.b/c:1"), Some(false));
        assert_eq!(is_pinned(&format!("a.b/c@{DIGEST}")), Some(true));
        assert_eq!(is_pinned(&format!("a.b/c:1@{DIGEST}")), Some(true));
    }

    #[test]
    fn a_star_lists_what_is_below_and_no_sibling() {
        let listed = |image: &str, pattern: &str| {
            Image::parse(image).is_some_and(|image| image.is_listed_as(pattern))
        };
        assert!(listed("a.b/team/runtime:1", "a.b/team/runtime"));
        assert!(listed("a.b/team/x/y", "a.b/team/*"));
        assert!(listed("a.b/team", "a.b/*"));
        for (image, pattern) in [
            ("a.b/teams/runtime", "a.b/team/*"),
            ("a.b/team", "a.b/team/*"),
            ("a.b.evil/team/x", "a.b/*"),
            ("a.b/team/runtime2", "a.b/team/runtime"),
            ("docker.io/a.b/team/x", "a.b/team/*"),
        ] {
            assert!(!listed(image, pattern), "{image} {pattern}");
        }
    }
}

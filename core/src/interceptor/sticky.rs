//! Kinds without a length limit: once their prefix is certain, the placeholder is out and the rest is
//! swallowed, to the terminator or the first byte that the kind cannot contain. Nothing is buffered.

/// What a sticky kind swallows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sticky {
    /// base64url and dots.
    Jwt,
    /// The token syntax of RFC 6750.
    Bearer,
    /// To the end of the `-----END …-----` line.
    Pem,
}

/// A sticky kind in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swallow {
    kind: Sticky,
    /// PEM: hyphens in a row.
    hyphens: u8,
    /// PEM: groups of five hyphens seen; the second ends it.
    groups: u8,
}

/// `b64token` of RFC 6750 section 2.1, and the underscore.
pub(super) fn is_bearer(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

impl Swallow {
    pub(super) fn new(kind: Sticky) -> Self {
        Self {
            kind,
            hyphens: 0,
            groups: 0,
        }
    }

    /// Whether this byte still belongs to it. After `false` it is over.
    pub(super) fn accepts(&mut self, byte: u8) -> bool {
        match self.kind {
            Sticky::Jwt => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=')
            }
            Sticky::Bearer => is_bearer(byte),
            Sticky::Pem => self.accepts_pem(byte),
        }
    }

    fn accepts_pem(&mut self, byte: u8) -> bool {
        if self.groups >= 2 {
            return false;
        }
        if byte == b'-' {
            self.hyphens += 1;
            if self.hyphens == 5 {
                self.hyphens = 0;
                self.groups += 1;
            }
            return true;
        }
        self.hyphens = 0;
        // base64, white space, the headers of RFC 1421, and line ends as JSON writes them.
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'+' | b'/' | b'=' | b':' | b',' | b'\\' | b' ' | b'\n' | b'\r' | b'\t'
            )
    }
}

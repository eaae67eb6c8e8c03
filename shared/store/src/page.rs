//! Page tokens: opaque, versioned, and good only for the list they were made for.
//!
//! They are not signed: the scope is proven anew on every page, so a forged token shows nothing that its forger may not see.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clientele_api::request::Page;
use clientele_api::{Error, Result, Uid, error::ErrorReason};
use prost::Message;
use sha2::{Digest, Sha256};

/// The form of the tokens. One of another form is refused.
const VERSION: u8 = 1;
/// A page ends where it would hold more bytes than this.
pub const LARGEST: usize = 2 * 1024 * 1024;
/// How much of the hash is kept.
const BINDING: usize = 12;

/// What a list is asked for: how many, and after which key.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// 1 to 500.
    pub size: u64,
    /// The last key of the page before, as [`PageRequest::token`] got it.
    pub after: Option<Vec<u8>>,
    binding: [u8; BINDING],
}

impl PageRequest {
    /// Reads size and token of a request on this scope (the uid of the parent; nil above workspaces).
    pub fn read<Q: Page>(request: &Q, scope: Uid) -> Result<Self> {
        let size = match request.page_size() {
            0 => 50,
            size @ 1..=500 => size.unsigned_abs().into(),
            501.. => 500,
            _ => return Err(Error::field("page_size", "must not be negative")),
        };
        let mut binding = [0; BINDING];
        let mut hash = Sha256::new();
        hash.update(Q::METHOD.path);
        hash.update(scope.0.as_bytes());
        hash.update(request.body());
        binding.copy_from_slice(&hash.finalize()[..BINDING]);
        let after = match request.page_token() {
            "" => None,
            token => Some(open(token, &binding)?),
        };
        Ok(Self { size, after, binding })
    }

    /// The token of the page after this key.
    pub fn token(&self, key: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode([&[VERSION], &self.binding[..], key].concat())
    }

    /// Makes a page of what was read with `size + 1`: the messages, and the token of the next page, empty if there is none. A page ends
    /// early where it grows too large to be received: a client takes 4 MiB.
    pub fn fill<R, M: Message>(
        &self,
        rows: Vec<R>,
        message: impl Fn(&R) -> M,
        key: impl Fn(&R) -> Vec<u8>,
    ) -> (Vec<M>, String) {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let mut messages = Vec::with_capacity(rows.len().min(size));
        let mut bytes = 0;
        for row in rows.iter().take(size) {
            let message = message(row);
            bytes += message.encoded_len();
            if bytes > LARGEST && !messages.is_empty() {
                break;
            }
            messages.push(message);
        }
        let last = messages.len().checked_sub(1).and_then(|last| rows.get(last));
        let token = match last {
            Some(last) if messages.len() < rows.len() => self.token(&key(last)),
            _ => String::new(),
        };
        (messages, token)
    }

    /// The uid that a list by uid goes on after.
    pub fn after_uid(&self) -> Result<Option<Uid>> {
        self.after
            .as_deref()
            .map(|key| uuid::Uuid::from_slice(key).map(Uid).map_err(|_| invalid()))
            .transpose()
    }
}

/// INVALID_ARGUMENT for a token that is none of ours.
pub fn invalid() -> Error {
    Error::new(
        ErrorReason::PageTokenInvalid,
        "the page token is not of this list: repeat the request that gave it, with nothing changed but the token",
    )
}

fn open(token: &str, binding: &[u8; BINDING]) -> Result<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    match bytes.split_first() {
        Some((&VERSION, rest)) if rest.len() >= BINDING && rest[..BINDING] == binding[..] => {
            Ok(rest[BINDING..].to_vec())
        }
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::org::ListOrganizationsRequest;

    #[test]
    fn a_token_opens_only_for_the_list_it_was_made_for() {
        let scope = Uid::new();
        let request = ListOrganizationsRequest {
            filter: "state = ACTIVE".into(),
            ..Default::default()
        };
        let first = PageRequest::read(&request, scope).unwrap();
        assert_eq!((first.size, &first.after), (50, &None));
        let with = |token: String, filter: &str| ListOrganizationsRequest {
            page_token: token,
            page_size: 7,
            filter: filter.into(),
            ..request.clone()
        };
        let token = first.token(b"key");
        assert_eq!(
            PageRequest::read(&with(token.clone(), "state = ACTIVE"), scope)
                .unwrap()
                .after
                .unwrap(),
            b"key"
        );
        assert!(PageRequest::read(&with(token.clone(), "state = DELETED"), scope).is_err());
        assert!(PageRequest::read(&with(token.clone(), "state = ACTIVE"), Uid::new()).is_err());
        assert!(PageRequest::read(&with(token[1..].to_owned(), "state = ACTIVE"), scope).is_err());
        assert!(PageRequest::read(&with("%".into(), "state = ACTIVE"), scope).is_err());
    }

    #[test]
    fn sizes_are_coerced_and_negative_ones_refused() {
        let size = |page_size| {
            PageRequest::read(
                &ListOrganizationsRequest {
                    page_size,
                    ..Default::default()
                },
                Uid::NIL,
            )
            .map(|page| page.size)
        };
        assert_eq!((size(0).unwrap(), size(1).unwrap(), size(501).unwrap()), (50, 1, 500));
        assert!(size(-1).is_err());
    }

    #[test]
    fn a_page_ends_where_it_grows_too_large() {
        let request = ListOrganizationsRequest {
            page_size: 10,
            ..Default::default()
        };
        let page = PageRequest::read(&request, Uid::NIL).unwrap();
        let fill = |rows: Vec<usize>| {
            page.fill(
                rows,
                |length| "x".repeat(*length),
                |length| length.to_be_bytes().to_vec(),
            )
        };
        let (messages, token) = fill(vec![1; 10]);
        assert_eq!((messages.len(), token.as_str()), (10, ""));
        let (messages, token) = fill(vec![1; 11]);
        assert!(messages.len() == 10 && !token.is_empty());
        let (messages, token) = fill(vec![LARGEST / 2 - 100; 4]);
        assert!(messages.len() == 2 && !token.is_empty());
        let (messages, token) = fill(vec![LARGEST + 1, 1]);
        assert!(
            messages.len() == 1 && !token.is_empty(),
            "one always fits, else nobody would get past it"
        );
    }
}

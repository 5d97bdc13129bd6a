//! Signatures of events: prove the author of a line (ed25519, RFC 8032).
//!
//! Guarantees that the line in its log is signed without the signature: id, entity, parents, author, time and payload. The
//! event that registered the key is signed too, which binds the signature to the store of that registration. A line does not
//! verify if it was altered, or copied into another task's log under that task's name. Nor does one copied from a store where
//! its author has the same key. A signature has one form: the lowercase digits of the canonical bytes.
//! Leaves to others: where keys are kept, and which events need a signature.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::error::{Error, Result};
use crate::model::event::{Entry, Event};
use crate::model::id::Id;

/// The prefix of keys and signatures, which distinguishes this kind from others.
const KIND: &str = "ed25519:";

/// A secret key: 32 random bytes.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with these bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        SecretKey(SigningKey::from_bytes(&secret))
    }

    /// Parses a key as [`SecretKey::to_text`] writes it.
    ///
    /// Errors: `ERR_VALIDATION` if the text is not a key.
    pub fn from_text(text: &str) -> Result<Self> {
        let bytes = text.trim().strip_prefix(KIND).and_then(bytes_of::<32>);
        bytes
            .map(Self::new)
            .ok_or_else(|| Error::validation("this is not an ed25519 key: 64 hexadecimal digits after ed25519:"))
    }

    /// The key as its file stores it.
    pub fn to_text(&self) -> String {
        format!("{KIND}{}", hex(self.0.as_bytes()))
    }

    /// The public key, as agents register it.
    pub fn public(&self) -> String {
        format!("{KIND}{}", hex(self.0.verifying_key().as_bytes()))
    }

    /// Signs an event and returns its line. `registered` is the event that registered the key.
    ///
    /// Errors: as [`Entry::new`].
    pub fn sign(&self, event: Event, registered: Id) -> Result<Entry> {
        let text = bound(&Event { sig: None, ..event.clone() }.to_line()?, registered);
        let sig = format!("{KIND}{}", hex(&self.0.sign(text.as_bytes()).to_bytes()));
        Entry::new(Event { sig: Some(sig), ..event })
    }
}

/// Refuses a text that is not a public key.
///
/// Errors: `ERR_VALIDATION`.
pub fn check_public(text: &str) -> Result<()> {
    key_of(text).map(|_| ()).ok_or_else(|| {
        Error::validation("a public key is ed25519: and 64 hexadecimal digits")
            .hint("agentpm agent register --new-key creates one")
    })
}

/// Whether the signature of a line was made with one of these public keys, each with the event that registered it.
pub fn is_signed_by<'a>(entry: &Entry, keys: impl IntoIterator<Item = (&'a str, Id)>) -> bool {
    let Some((text, sig)) = signed_text(&entry.line) else { return false };
    let Some(sig) = sig.strip_prefix(KIND).and_then(bytes_of::<64>) else { return false };
    let sig = Signature::from_bytes(&sig);
    keys.into_iter().any(|(key, registered)| {
        key_of(key).is_some_and(|key| key.verify_strict(bound(&text, registered).as_bytes(), &sig).is_ok())
    })
}

/// What is signed: a line, and the event that registered the key in this store.
fn bound(line: &str, registered: Id) -> String {
    format!("{line}\n{registered}")
}

/// A line without its signature, and the signature, which is its last key.
fn signed_text(line: &str) -> Option<(String, &str)> {
    let (before, rest) = line.rsplit_once(",\"sig\":\"")?;
    let sig = rest.strip_suffix("\"}")?;
    (!sig.contains('"')).then(|| (format!("{before}}}"), sig))
}

fn key_of(text: &str) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(&text.strip_prefix(KIND).and_then(bytes_of::<32>)?).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| (digit as char).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    // Uppercase digits would be another text for the same bytes.
    (hex(&out) == text).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::parse_line;

    const LINE: &str = r#"{"v":1,"id":"01K5R4XJ7Z0000000000000001","lamport":1,"type":"TaskCreated","entity":"task/01K5R4XJ7Z0000000000000000","agent":"a","at":"2026-11-20T10:00:00Z","payload":{"title":"x"}}"#;

    #[test]
    fn a_line_is_signed_by_its_key_in_its_store_and_by_no_other() {
        let (key, other) = (SecretKey::new([7; 32]), SecretKey::new([8; 32]));
        let [here, elsewhere] =
            ["01K5R4XJ7Z0000000000000008", "01K5R4XJ7Z0000000000000009"].map(|id| id.parse().unwrap());
        let signed = key.sign(parse_line(LINE).unwrap(), here).unwrap();
        let (public, others) = (key.public(), other.public());
        let own = [(public.as_str(), here)];
        assert!(is_signed_by(&signed, own));
        assert!(is_signed_by(&signed, [(others.as_str(), here), own[0]]));
        assert!(!is_signed_by(&signed, [(others.as_str(), here)]));
        assert!(!is_signed_by(&signed, [(public.as_str(), elsewhere)]), "the key as another store registered it");
        let altered = |from: &str, to: &str| {
            let line = signed.line.replacen(from, to, 1);
            Entry { event: parse_line(&line).unwrap(), line: line.into_boxed_str() }
        };
        for (from, to) in [
            (r#""x""#, r#""y""#),
            ("0000000000\",\"agent", "0000000009\",\"agent"),
            ("\"agent\":\"a\"", "\"agent\":\"b\""),
        ] {
            assert!(!is_signed_by(&altered(from, to), own), "{from}");
        }
        let sig = signed.event.sig.clone().unwrap();
        assert!(!is_signed_by(&altered(&sig, &sig.to_uppercase().replace("ED25519", "ed25519")), own), "another form");
        assert_eq!(SecretKey::from_text(&key.to_text()).unwrap().public(), key.public());
        assert!(SecretKey::from_text("ed25519:12").is_err() && check_public("rsa:00").is_err());
    }

    #[test]
    fn a_signature_has_one_form() {
        // The scalar of the second half, plus the order of the group, is another number for the same point.
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (key, id) = (SecretKey::new([7; 32]), "01K5R4XJ7Z0000000000000008".parse().unwrap());
        let signed = key.sign(parse_line(LINE).unwrap(), id).unwrap();
        let sig = signed.event.sig.clone().unwrap();
        let mut bytes = bytes_of::<64>(sig.strip_prefix(KIND).unwrap()).unwrap();
        let mut carry = 0u16;
        for (byte, more) in bytes[32..].iter_mut().zip(ORDER) {
            carry += u16::from(*byte) + u16::from(more);
            *byte = u8::try_from(carry & 0xff).unwrap();
            carry >>= 8;
        }
        let line = signed.line.replace(&sig, &format!("{KIND}{}", hex(&bytes)));
        let other = Entry { event: parse_line(&line).unwrap(), line: line.into_boxed_str() };
        let public = key.public();
        assert!(is_signed_by(&signed, [(public.as_str(), id)]) && !is_signed_by(&other, [(public.as_str(), id)]));
    }
}

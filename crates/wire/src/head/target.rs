//! Targets: `/path?key=value&…`, percent-encoded, or not quite.

use std::{collections::BTreeMap, fmt::Write as _};

/// The path of a target, decoded. Bytes that are no UTF-8 become U+FFFD.
pub(super) fn path(target: &[u8]) -> String {
    let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    decode(target.get(..end).unwrap_or_default(), false)
}

/// The pairs of a target's query, decoded; of a repeated key the last. A key without `=` has the
/// empty value.
pub(super) fn query(target: &[u8]) -> BTreeMap<String, String> {
    let Some(at) = target.iter().position(|byte| *byte == b'?') else {
        return BTreeMap::new();
    };
    let pairs = target.get(at + 1..).unwrap_or_default().split(|byte| *byte == b'&');
    pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let mut side = || decode(sides.next().unwrap_or_default(), true);
            (side(), side())
        })
        .collect()
}

/// Text as it may stand in a query: all but letters, digits and `-._~` is percent-encoded.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            let _ = write!(encoded, "{byte:02X}");
        }
    }
    encoded
}

/// Undoes percent-encoding; a `%` that starts no code stays as it is.
fn decode(bytes: &[u8], plus_is_space: bool) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => match (digit(tail.first()), digit(tail.get(1))) {
                (Some(high), Some(low)) => {
                    decoded.extend(u8::try_from(high * 16 + low));
                    rest = tail.get(2..).unwrap_or_default();
                }
                _ => decoded.push(b'%'),
            },
            b'+' if plus_is_space => decoded.push(b' '),
            other => decoded.push(*other),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_plain_and_reads_the_same(text in "(.|\r|\n)*") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
            prop_assert_eq!(decode(encoded.as_bytes(), true), text);
        }
    }
}

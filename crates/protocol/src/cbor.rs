//! CBOR as Couplet writes and reads it (spec/protocol.md, 3): one map with text keys, deterministic (RFC 8949, 4.2.1).
//!
//! What is read stays where it is: nothing is copied or allocated, whatever lengths a message declares, and nothing
//! recurses. Secrets therefore stand only in the buffer that the caller clears.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use zeroize::Zeroizing;

/// The longest text that a message may hold, in bytes.
pub(crate) const TEXT_MAX: usize = 512;

/// The bytes are not the message that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub(crate) &'static str);

impl From<minicbor::decode::Error> for Malformed {
    fn from(_: minicbor::decode::Error) -> Self {
        Malformed("it is not CBOR")
    }
}

impl<E> From<minicbor::encode::Error<E>> for Malformed {
    fn from(_: minicbor::encode::Error<E>) -> Self {
        Malformed("it cannot be written")
    }
}

/// What a field can be.
pub(crate) enum Field<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(u64),
    /// A list of byte strings.
    List(&'a [Vec<u8>]),
}

impl Field<'_> {
    /// At least as long as it is in CBOR.
    fn room(&self) -> usize {
        const HEAD: usize = 9;
        match self {
            Field::Text(text) => HEAD + text.len(),
            Field::Bytes(bytes) => HEAD + bytes.len(),
            Field::Number(_) => HEAD,
            Field::List(list) => HEAD + list.iter().map(|bytes| HEAD + bytes.len()).sum::<usize>(),
        }
    }
}

/// A map of the fields that are there, in deterministic order: keys by their encoded bytes, which for text is by
/// length, then by letter.
pub(crate) fn encode(fields: Vec<(&str, Option<Field<'_>>)>) -> Result<Zeroizing<Vec<u8>>, Malformed> {
    let mut present: Vec<_> = fields.into_iter().filter_map(|(key, field)| Some((key, field?))).collect();
    present.sort_by_key(|(key, _)| order(key));
    // Made once in full length, so that no shorter copy with secrets is left behind.
    let room: usize = present.iter().map(|(key, field)| Field::Text(key).room() + field.room()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(room + 9));
    let mut encoder = Encoder::new(&mut *out);
    encoder.map(present.len() as u64)?;
    for (key, field) in present {
        encoder.str(key)?;
        match field {
            Field::Text(text) if text.len() > TEXT_MAX => return Err(Malformed("a text is too long")),
            Field::Text(text) => encoder.str(text)?,
            Field::Bytes(bytes) => encoder.bytes(bytes)?,
            Field::Number(number) => encoder.u64(number)?,
            Field::List(list) => {
                encoder.array(list.len() as u64)?;
                list.iter().try_for_each(|bytes| encoder.bytes(bytes).map(drop))?;
                &mut encoder
            }
        };
    }
    Ok(out)
}

fn order(key: &str) -> (usize, &str) {
    (key.len(), key)
}

/// A map that was checked as a whole; its values are looked at one by one.
pub(crate) struct Map<'a> {
    message: &'a [u8],
}

impl<'a> Map<'a> {
    /// Takes a message that is one map and nothing else. Its keys are texts in order, none twice; every head in it has
    /// the shortest form and a definite length; there are no tags, no floating-point numbers and no simple values but
    /// false, true and null.
    pub(crate) fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(message);
        let len = pass(&mut decoder, Type::Map)?;
        let mut last = None;
        for _ in 0..len {
            let key = text(&mut decoder)?;
            if last.is_some_and(|last| order(last) >= order(key)) {
                return Err(Malformed("its keys are out of order, or one stands twice"));
            }
            last = Some(key);
            skip(&mut decoder)?;
        }
        match decoder.position() == message.len() {
            true => Ok(Map { message }),
            false => Err(Malformed("there are bytes behind it")),
        }
    }

    /// The decoder at the value of this key.
    fn find(&self, key: &str) -> Result<Option<Decoder<'a>>, Malformed> {
        let mut decoder = Decoder::new(self.message);
        for _ in 0..pass(&mut decoder, Type::Map)? {
            if text(&mut decoder)? == key {
                return Ok(Some(decoder));
            }
            skip(&mut decoder)?;
        }
        Ok(None)
    }

    fn value(&self, key: &'static str) -> Result<Decoder<'a>, Malformed> {
        self.find(key)?.ok_or(Malformed(key))
    }

    /// What `take` finds, if the key is there at all.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        take: impl FnOnce(&Self, &'static str) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        self.find(key)?.map(|_| take(self, key)).transpose()
    }

    pub(crate) fn text(&self, key: &'static str) -> Result<&'a str, Malformed> {
        match self.value(key)?.str() {
            Ok(text) if text.len() <= TEXT_MAX => Ok(text),
            _ => Err(Malformed(key)),
        }
    }

    pub(crate) fn bytes(&self, key: &'static str) -> Result<&'a [u8], Malformed> {
        self.value(key)?.bytes().map_err(|_| Malformed(key))
    }

    pub(crate) fn array<const N: usize>(&self, key: &'static str) -> Result<[u8; N], Malformed> {
        self.bytes(key)?.try_into().map_err(|_| Malformed(key))
    }

    pub(crate) fn number(&self, key: &'static str) -> Result<u64, Malformed> {
        self.value(key)?.u64().map_err(|_| Malformed(key))
    }

    /// A list of at most `most` byte strings.
    pub(crate) fn list(&self, key: &'static str, most: usize) -> Result<Vec<&'a [u8]>, Malformed> {
        let mut decoder = self.value(key)?;
        match decoder.array() {
            Ok(Some(len)) if len <= most as u64 => {
                (0..len).map(|_| decoder.bytes().map_err(|_| Malformed(key))).collect()
            }
            _ => Err(Malformed(key)),
        }
    }
}

fn text<'a>(decoder: &mut Decoder<'a>) -> Result<&'a str, Malformed> {
    let mut before = decoder.clone();
    pass(decoder, Type::String)?;
    Ok(before.str()?)
}

/// Passes one item with all that is in it.
fn skip(decoder: &mut Decoder<'_>) -> Result<(), Malformed> {
    let mut left = 1_u64;
    while left > 0 {
        let kind = decoder.datatype()?;
        let inside = match kind {
            Type::Array => pass(decoder, kind)?,
            Type::Map => pass(decoder, kind)?.saturating_mul(2),
            _ => pass(decoder, kind).map(|_| 0)?,
        };
        // A length beyond the message ends with the message.
        left = (left - 1).saturating_add(inside);
    }
    Ok(())
}

/// Passes a number, a word, a string, or the head of an array or a map; it must be of this type and have its shortest
/// form. Returns the length of what has one.
fn pass(decoder: &mut Decoder<'_>, expected: Type) -> Result<u64, Malformed> {
    let (kind, from) = (decoder.datatype()?, decoder.position());
    if kind != expected {
        return Err(Malformed("it is not of the form that is expected"));
    }
    // The longest head has nine bytes.
    let mut shortest = [0; 9];
    let mut encoder = Encoder::new(&mut shortest[..]);
    let mut len = 0;
    match kind {
        Type::Array => {
            len = decoder.array()?.ok_or(Malformed("a length is missing"))?;
            encoder.array(len)?;
        }
        Type::Map => {
            len = decoder.map()?.ok_or(Malformed("a length is missing"))?;
            encoder.map(len)?;
        }
        Type::Bytes => {
            len = decoder.bytes()?.len() as u64;
            encoder.bytes_len(len)?;
        }
        Type::String => {
            len = decoder.str()?.len() as u64;
            encoder.str_len(len)?;
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            encoder.int(decoder.int()?)?;
        }
        // These have one form only.
        Type::Bool => drop(decoder.bool()?),
        Type::Null => decoder.null()?,
        _ => return Err(Malformed("it holds what no message holds")),
    }
    let written = 9 - encoder.writer().len();
    match decoder.input().get(from..from + written) == shortest.get(..written) {
        true => Ok(len),
        false => Err(Malformed("its CBOR is not deterministic")),
    }
}

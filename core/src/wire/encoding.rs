//! How records and payloads stand in JSON.

/// A record as its canonical bytes: what arrives is what is hashed, or it is refused.
pub(super) mod record {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::value::RawValue;

    use crate::record::Record;

    pub(in crate::wire) fn serialize<S: Serializer>(
        record: &Record,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let bytes = record.to_canonical().map_err(S::Error::custom)?;
        let text = String::from_utf8(bytes).map_err(S::Error::custom)?;
        let raw = RawValue::from_string(text).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Record, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Record::from_canonical(raw.get().as_bytes()).map_err(D::Error::custom)
    }
}

/// Payloads as the base64 of their files.
pub(super) mod payloads {
    use std::borrow::Cow;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::record::Payload;
    use crate::tlog::base64;

    pub(in crate::wire) fn serialize<S: Serializer>(
        payloads: &[Payload],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(payloads.iter().map(|p| base64::encode(&p.encode())))
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Payload>, D::Error> {
        let texts = Vec::<Cow<'de, str>>::deserialize(deserializer)?;
        let payload = |text: &Cow<'_, str>| {
            let bytes = base64::decode(text)
                .ok_or_else(|| D::Error::custom("a payload must be base64 (RFC 4648, padded)"))?;
            Payload::decode(&bytes).map_err(D::Error::custom)
        };
        texts.iter().map(payload).collect()
    }
}

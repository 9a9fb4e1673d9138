//! Numbers written down so that reading gives the very same number: JSON's are read to the last bit or so only.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

/// Two of them.
pub mod pair {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &(f64, f64), to: S) -> Result<S::Ok, S::Error> {
        (value.0.to_string(), value.1.to_string()).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<(f64, f64), D::Error> {
        let (one, other) = <(String, String)>::deserialize(from)?;
        let number = |text: String| text.parse().map_err(D::Error::custom);
        Ok((number(one)?, number(other)?))
    }
}

//! JSON objects.

/// A JSON object that keeps the order of its keys.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// Without serde_json's feature `float_roundtrip` the last digit of some numbers changes.
    #[test]
    fn a_float_survives_being_stored() {
        for text in [
            "31.245270191439438",
            "121.48791951161945",
            "100.78399658203125",
            "0.30000000000000004",
            "5e-324",
        ] {
            let float: f64 = text.parse().unwrap();
            let stored = serde_json::to_string(&float).unwrap();
            let read: Value = serde_json::from_str(&stored).unwrap();
            assert_eq!(read.as_f64().map(f64::to_bits), Some(float.to_bits()), "{text}");
        }
    }
}

//! Bytes as hexadecimal digits: the form in which hashes and tokens are told.

/// Two lower-case digits a byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(encode(&[0, 10, 171, 255]), "000aabff");
        assert_eq!(encode(&[]), "");
    }
}

//! Signatures as Standard Webhooks defines them: HMAC-SHA256 over `id.timestamp.body`
//! (standard-webhooks.com, "Signature scheme", symmetric keys).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac::{Context, HMAC_SHA256, Key};
use secrecy::{ExposeSecret, SecretSlice};

/// One key of a destination. Several are active while a key is rotated.
#[derive(Clone)]
pub struct SigningKey(SecretSlice<u8>);

/// What a signing secret must look like; ends the sentence "expected …".
pub const EXPECTED: &str = "a signing secret of 24 to 64 bytes in base64, with or without whsec_ before it";

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl SigningKey {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let key = BASE64_STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).map_err(|_| EXPECTED)?;
        if !(24..=64).contains(&key.len()) {
            return Err(EXPECTED);
        }
        Ok(Self(key.into()))
    }

    /// The key itself, to be looked for where it must not be.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

/// The value of `webhook-signature`: one signature for every active key, so that a receiver may have any of them.
pub fn signature(keys: &[SigningKey], id: &str, timestamp: u64, body: &[u8]) -> String {
    let signatures = keys.iter().map(|key| {
        let mut mac = Context::with_key(&Key::new(HMAC_SHA256, key.0.expose_secret()));
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.sign()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_specifications_own_example_is_signed_as_it_says() {
        let key = SigningKey::parse(SECRET).unwrap();
        let signature = signature(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_official_library_accepts_every_active_key() {
        let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let keys = [SECRET, other].map(|secret| SigningKey::parse(secret).unwrap());
        let mut headers = http::HeaderMap::new();
        headers.insert("webhook-id", "run-456".parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature(&keys, "run-456", now, b"{ }").parse().unwrap());
        for secret in [SECRET, other] {
            let verifier = standardwebhooks::Webhook::new(secret).unwrap();
            assert!(verifier.verify(b"{ }", &headers).is_ok());
            assert!(verifier.verify(b"{}", &headers).is_err());
        }
    }

    #[test]
    fn what_is_no_signing_secret_is_refused() {
        for text in ["", "whsec_", "whsec_AAAA", "not base64!", &format!("whsec_{}", "A".repeat(88))] {
            assert!(SigningKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_equal_when_their_bytes_are() {
        let key = |text: &str| SigningKey::parse(text).unwrap();
        let text = BASE64_STANDARD.encode([7; 24]);
        assert_eq!(key(&text).expose(), [7; 24]);
        assert!(key(&text) == key(&format!("whsec_{text}")) && key(&text) != key(SECRET));
    }
}

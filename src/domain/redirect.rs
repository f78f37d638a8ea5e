//! Where a failing endpoint redirects to, as far as a log line may tell it.

use std::fmt;

use url::Url;

use super::endpoint::origin;

/// The target of a redirect; ends the sentence "the endpoint redirects to …".
///
/// Paths and queries may hold secrets, so none is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectTo {
    /// A page that asks people to log in, by its host or path: the endpoint does not accept the credentials. Its origin.
    Login(String),
    /// Another origin.
    Origin(String),
    SlashAdded,
    SlashRemoved,
    /// The same URL with `https://` instead of `http://`.
    Https,
    /// The URL that was called.
    SameUrl,
    OtherPath,
    /// There is no `Location`.
    Nowhere,
    /// `Location` is no URL, or longer than [`MAX_LOCATION`].
    Unreadable,
}

/// A longer `Location` is not looked at, in bytes.
pub const MAX_LOCATION: usize = 2048;

/// Parts of a login page's host or path.
const LOGIN: [&str; 13] = [
    "login", "log-in", "signin", "sign-in", "sso", "auth", "oauth", "oauth2", "accounts", "idp", "saml", "saml2",
    "adfs",
];

impl RedirectTo {
    /// Compares the URL that was called with the response's `Location`.
    pub fn of(called: &Url, location: Option<&[u8]>) -> Self {
        let Some(location) = location else { return Self::Nowhere };
        let text = str::from_utf8(location).ok().filter(|text| text.len() <= MAX_LOCATION);
        let Some(target) = text.and_then(|text| called.join(text).ok()) else { return Self::Unreadable };
        let Some(target_origin) = origin(&target) else { return Self::Unreadable };

        let same_origin = origin(called).as_ref() == Some(&target_origin);
        let same_path = without_slash(called) == without_slash(&target) && called.query() == target.query();
        let standard_ports = called.port().is_none() && target.port().is_none();
        let secured = called.scheme() == "http" && target.scheme() == "https" && called.host() == target.host();
        if same_path && same_origin {
            match target.path().len().cmp(&called.path().len()) {
                std::cmp::Ordering::Greater => Self::SlashAdded,
                std::cmp::Ordering::Less => Self::SlashRemoved,
                std::cmp::Ordering::Equal => Self::SameUrl,
            }
        } else if same_path && secured && standard_ports {
            Self::Https
        } else if words(&target).any(|word| is_login(word) && !words(called).any(|known| known == word)) {
            Self::Login(target_origin)
        } else if same_origin {
            Self::OtherPath
        } else {
            Self::Origin(target_origin)
        }
    }
}

impl RedirectTo {
    /// What the operator should do.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Login(_) => {
                "check the destination's credentials: an endpoint redirects to its login page when they are missing or wrong"
            }
            Self::Nowhere | Self::Unreadable | Self::SameUrl => {
                "ask the endpoint's owner which URL takes the alerts, and enter it as the destination's `url`"
            }
            Self::Https => "write https:// in the destination's `url`",
            Self::SlashAdded => "add a slash at the end of the path in the destination's `url`",
            Self::SlashRemoved => "take the slash at the end of the path out of the destination's `url`",
            Self::Origin(_) | Self::OtherPath => {
                "enter the URL of its Location header (`curl -i` shows it) as the destination's `url`"
            }
        }
    }
}

fn without_slash(url: &Url) -> &str {
    url.path().strip_suffix('/').unwrap_or(url.path())
}

fn words(url: &Url) -> impl Iterator<Item = &str> {
    url.host_str().unwrap_or_default().split(['.', '-']).chain(url.path().split(['/', '.']))
}

fn is_login(word: &str) -> bool {
    LOGIN.iter().any(|login| login.eq_ignore_ascii_case(word))
}

impl fmt::Display for RedirectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login(origin) => return write!(f, "a login page at {origin}"),
            Self::Origin(origin) => return write!(f, "another origin, {origin}"),
            Self::SlashAdded => "the same URL with a slash added at its end",
            Self::SlashRemoved => "the same URL without its last slash",
            Self::Https => "https:// instead of http://",
            Self::SameUrl => "the same URL",
            Self::OtherPath => "another path on the same host",
            Self::Nowhere => "no place: it has no Location header",
            Self::Unreadable => "no place: its Location header is not a URL of at most 2 KiB",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_described_without_path_and_query() {
        for (called, location, described) in [
            ("https://soc.example/hook?k=1", "/hook/?k=1", "the same URL with a slash added at its end"),
            ("https://soc.example/hook", "https://soc.example:443/hook/", "the same URL with a slash added at its end"),
            ("https://soc.example/hook/", "../hook", "the same URL without its last slash"),
            ("https://soc.example/hook", "/hook", "the same URL"),
            ("https://soc.example/hook?k=1", "/hook", "another path on the same host"),
            ("https://soc.example/hook", "/v2/hook", "another path on the same host"),
            ("http://soc.example/hook", "https://soc.example/hook", "https:// instead of http://"),
            ("http://soc.example/hook", "https://SOC.example/hook/", "https:// instead of http://"),
            ("http://soc.example:8080/hook", "https://soc.example/hook", "another origin, https://soc.example"),
            ("https://soc.example/hook", "http://soc.example/hook", "another origin, http://soc.example"),
            ("https://soc.example/hook", "https://a:b@x.example:8443/k?l#m", "another origin, https://x.example:8443"),
            ("https://soc.example/hook", "//x.example", "another origin, https://x.example"),
            ("https://soc.example/hook", "https://login.example.com/", "a login page at https://login.example.com"),
            ("https://soc.example/hook", "https://sso-eu.example/x", "a login page at https://sso-eu.example"),
            ("https://soc.example/hook", "/Login.php?next=%2Fhook", "a login page at https://soc.example"),
            ("http://soc.example/hook", "https://soc.example/sign-in", "a login page at https://soc.example"),
            ("https://auth.example/auth/hook", "/auth/v2/hook", "another path on the same host"),
            ("https://soc.example/hook", "https://blog.example/logins", "another origin, https://blog.example"),
            ("https://soc.example/hook", "https://", "no place: its Location header is not a URL of at most 2 KiB"),
            ("https://soc.example/hook", "mailto:a@b", "no place: its Location header is not a URL of at most 2 KiB"),
        ] {
            let to = RedirectTo::of(&Url::parse(called).unwrap(), Some(location.as_bytes()));
            assert_eq!(to.to_string(), described, "{called} → {location}");
        }
    }

    #[test]
    fn a_location_is_read_up_to_two_kibibytes() {
        let called = Url::parse("https://soc.example/hook").unwrap();
        let location = |length: usize| RedirectTo::of(&called, Some(&vec![b'x'; length]));
        assert_eq!(location(MAX_LOCATION), RedirectTo::OtherPath);
        assert_eq!(location(MAX_LOCATION + 1), RedirectTo::Unreadable);
        assert_eq!(RedirectTo::of(&called, Some(b"/\xff")), RedirectTo::Unreadable);
        assert_eq!(RedirectTo::of(&called, None), RedirectTo::Nowhere);
    }
}

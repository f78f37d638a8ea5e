//! Where a failing endpoint redirects to, as far as a log line may tell it.

use std::cmp::Ordering;

use url::Url;

/// The target of a redirect. Paths and queries may hold secrets, so none is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectTo {
    /// Ends the sentence "the endpoint answered with a redirect …".
    pub place: String,
    /// What the operator should do.
    pub advice: &'static str,
}

const ASK: &str = "ask the endpoint's owner which URL takes the alerts, and enter it as the destination's `url`";
const ENTER: &str = "enter the URL of its Location header (`curl -i` shows it) as the destination's `url`";

/// A longer `Location` is not looked at, in bytes.
pub const MAX_LOCATION: usize = 2048;

/// Parts of a login page's host or path.
const LOGIN: [&str; 13] = [
    "login", "log-in", "signin", "sign-in", "sso", "auth", "oauth", "oauth2", "accounts", "idp", "saml", "saml2",
    "adfs",
];

impl RedirectTo {
    /// Compares the URL that was called with the response's `Location`, whose origin is told as `shown` makes it.
    pub fn of(called: &Url, location: Option<&[u8]>, shown: impl Fn(&str) -> String) -> Self {
        let to = |place: &str, advice| Self { place: place.to_owned(), advice };
        let Some(location) = location else { return to("without a Location header", ASK) };
        let text = str::from_utf8(location).ok().filter(|text| text.len() <= MAX_LOCATION);
        let target = text.and_then(|text| called.join(text).ok());
        let Some(target) = target.filter(|target| target.origin().is_tuple()) else {
            return to("whose Location header is not a URL of at most 2 KiB", ASK);
        };
        let same_origin = called.origin() == target.origin();
        let target_origin = target.origin().ascii_serialization();
        let same_path = without_slash(called) == without_slash(&target) && called.query() == target.query();
        let standard_ports = called.port().is_none() && target.port().is_none();
        let secured = called.scheme() == "http" && target.scheme() == "https" && called.host() == target.host();
        if same_path && same_origin {
            match target.path().len().cmp(&called.path().len()) {
                Ordering::Greater => to(
                    "to the same URL with a slash added at its end",
                    "add a slash at the end of the path in the destination's `url`",
                ),
                Ordering::Less => to(
                    "to the same URL without its last slash",
                    "take the slash at the end of the path out of the destination's `url`",
                ),
                Ordering::Equal => to("to the same URL", ASK),
            }
        } else if same_path && secured && standard_ports {
            to("to https:// instead of http://", "write https:// in the destination's `url`")
        } else if words(&target).any(|word| is_login(word) && !words(called).any(|known| known == word)) {
            // A page that asks people to log in, by its host or path: the endpoint does not accept the credentials.
            to(
                &format!("to a login page at {}", shown(&target_origin)),
                "check the destination's credentials (an endpoint redirects to its login page when they are missing or wrong)",
            )
        } else if same_origin {
            to("to another path on the same host", ENTER)
        } else {
            to(&format!("to another origin, {}", shown(&target_origin)), ENTER)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_described_without_path_and_query() {
        for (called, location, described) in [
            ("https://soc.example/hook?k=1", "/hook/?k=1", "to the same URL with a slash added at its end"),
            (
                "https://soc.example/hook",
                "https://soc.example:443/hook/",
                "to the same URL with a slash added at its end",
            ),
            ("https://soc.example/hook/", "../hook", "to the same URL without its last slash"),
            ("https://soc.example/hook", "/hook", "to the same URL"),
            ("https://soc.example/hook?k=1", "/hook", "to another path on the same host"),
            ("https://soc.example/hook", "/v2/hook", "to another path on the same host"),
            ("http://soc.example/hook", "https://soc.example/hook", "to https:// instead of http://"),
            ("http://soc.example/hook", "https://SOC.example/hook/", "to https:// instead of http://"),
            ("http://soc.example:8080/hook", "https://soc.example/hook", "to another origin, https://soc.example"),
            ("https://soc.example/hook", "http://soc.example/hook", "to another origin, http://soc.example"),
            (
                "https://soc.example/hook",
                "https://a:b@x.example:8443/k?l#m",
                "to another origin, https://x.example:8443",
            ),
            ("http://soc.example/hook", "http://x.example/hook", "to another origin, http://x.example"),
            ("https://soc.example/hook", "//x.example", "to another origin, https://x.example"),
            ("https://soc.example/hook", "https://login.example.com/", "to a login page at https://login.example.com"),
            ("https://soc.example/hook", "https://sso-eu.example/x", "to a login page at https://sso-eu.example"),
            ("https://soc.example/hook", "/Login.php?next=%2Fhook", "to a login page at https://soc.example"),
            ("http://soc.example/hook", "https://soc.example/sign-in", "to a login page at https://soc.example"),
            ("https://auth.example/auth/hook", "/auth/v2/hook", "to another path on the same host"),
            ("https://soc.example/hook", "https://blog.example/logins", "to another origin, https://blog.example"),
            ("https://soc.example/hook", "https://", "whose Location header is not a URL of at most 2 KiB"),
            ("https://soc.example/hook", "mailto:a@b", "whose Location header is not a URL of at most 2 KiB"),
        ] {
            let to = RedirectTo::of(&Url::parse(called).unwrap(), Some(location.as_bytes()), str::to_owned);
            assert_eq!(to.place, described, "{called} → {location}");
        }
    }

    #[test]
    fn a_location_is_read_up_to_two_kibibytes() {
        let called = Url::parse("https://soc.example/hook").unwrap();
        let place = |location: Option<&[u8]>| RedirectTo::of(&called, location, str::to_owned).place;
        let unreadable = "whose Location header is not a URL of at most 2 KiB";
        assert_eq!(place(Some(&[b'x'; MAX_LOCATION])), "to another path on the same host");
        assert_eq!(place(Some(&[b'x'; MAX_LOCATION + 1])), unreadable);
        assert_eq!(place(Some(b"/\xff")), unreadable);
        assert_eq!(place(None), "without a Location header");
    }
}

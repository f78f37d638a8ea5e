use super::*;

#[test]
fn an_endpoint_shows_its_origin_and_nothing_else() {
    let endpoint =
        Endpoint::parse("https://user:p%40ss&%2B+=word@soc.example.com:8443/T0/SECRET?api_key=SECRET").unwrap();
    assert_eq!(endpoint.origin(), "https://soc.example.com:8443");
    assert_eq!(format!("{endpoint:?}"), "Endpoint(https://soc.example.com:8443)");
    assert_eq!(endpoint.expose_credentials(), Some(("user", "p@ss&++=word")));
    assert!(!endpoint.expose_url().as_str().contains("user"));
}

#[test]
fn the_origin_leaves_out_the_default_port_and_keeps_ipv6_brackets() {
    for (text, origin) in [
        ("https://SOC.example.com:443/x", "https://soc.example.com"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://2130706433/", "https://127.0.0.1"),
        ("HTTPS://bücher.example/", "https://xn--bcher-kva.example"),
    ] {
        assert_eq!(Endpoint::parse(text).unwrap().origin(), origin);
    }
}

#[test]
fn what_is_no_webhook_url_is_refused_without_repeating_it() {
    for text in [
        "",
        "soc.example.com/x",
        "/x",
        "ftp://h/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "https:h/x",
        "https:\\\\h/x",
        "https://h:0/",
        "https://h:70000/",
        "https://a b/",
        "https://h/a\tb",
        "https://h/\r\nX: SECRET",
        " https://h/",
        "https://h/\u{7f}",
        "https://[::1",
        "https://user%3Ax:y@h/",
        "https://%ff:x@h/",
    ] {
        let expected = Endpoint::parse(text).unwrap_err();
        assert!(!expected.contains("SECRET"), "{text}: {expected}");
    }
}

#[test]
fn what_the_client_could_not_send_or_would_cut_is_refused_when_it_is_read() {
    let long_label = format!("https://{}.example/", "a".repeat(64));
    let long_name = format!("https://{}example/", "a.".repeat(130));
    let long = format!("https://h/{}", "a".repeat(70_000));
    for text in [
        "https://h/x?api_key=abc#def",
        "https://h/#{{secret:s}}",
        "https://a..b/",
        "https://-a.example/",
        "https://a*b.example/",
        "https://a\"b.example/",
        "https://a`b.example/",
        "https://a{b}.example/",
        &long_label,
        &long_name,
        &long,
    ] {
        assert!(EndpointTemplate::parse(text).is_err(), "{text}");
    }
    for text in ["https://soc.example.com./x", "https://my_soc.internal/", "https://localhost/", "https://h/a|b\"c{d}"]
    {
        assert!(Endpoint::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn what_a_url_has_encoded_is_sent_as_it_is_written() {
    for target in [
        "/run?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=aB-_c",
        "/entry.cgi?token=%22abc%22&model=576%3Aa&model=577%3ab",
        "/a%2Fb/%7Euser/100%/%zz?x=1+2%20%2B&y=",
        "//double//slash/;p=1,2:@!$&'()*+,=?filter[a]=b|c",
    ] {
        let endpoint = Endpoint::parse(&format!("https://soc.example.com{target}")).unwrap();
        let url = http::Uri::try_from(endpoint.expose_url().as_str()).unwrap();
        assert_eq!(url.path_and_query().unwrap().as_str(), target);
    }
}

/// The endpoint of a URL in which every reference has this value.
fn filled(text: &str, value: &str) -> Result<Endpoint, String> {
    let template = EndpointTemplate::parse(text).unwrap();
    let mut resolved = Resolved::default();
    for reference in template.references() {
        resolved.insert(reference.clone(), &value.into());
    }
    template.resolve(&resolved).map_err(ToOwned::to_owned)
}

#[test]
fn references_stand_in_userinfo_path_and_query() {
    for (text, url, credentials) in [
        ("https://h/{{secret:s}}", "https://h/T0/B0%3Fx%3D1", None),
        ("https://h/x?k={{secret:s}}", "https://h/x?k=T0%2FB0%3Fx%3D1", None),
        ("https://h?k=/{{secret:s}}", "https://h/?k=/T0%2FB0%3Fx%3D1", None),
        ("https://h:8443/a/{{secret:s}}/b", "https://h:8443/a/T0/B0%3Fx%3D1/b", None),
        ("https://u:{{secret:s}}@h/", "https://h/", Some(("u", "T0/B0?x=1"))),
        ("https://{{secret:s}}@h/{{secret:s}}", "https://h/T0/B0%3Fx%3D1", Some(("T0/B0?x=1", ""))),
    ] {
        let endpoint = filled(text, "T0/B0?x=1").unwrap();
        assert_eq!((endpoint.expose_url().as_str(), endpoint.expose_credentials()), (url, credentials), "{text}");
    }
}

#[test]
fn a_receiver_decodes_exactly_the_secret() {
    for value in ["a+b&c=d", "T0#B1", "100%", "%41", "ä ö", "a\nb", "\"'<>\\^`{|}~", "{{secret:x}}", "..", "a/b"] {
        let endpoint = filled("https://u:{{secret:s}}@h/x?api_key={{secret:s}}", value).unwrap();
        let (name, decoded) = endpoint.expose_url().query_pairs().next().unwrap();
        assert_eq!((&*name, &*decoded), ("api_key", value));
        assert_eq!(endpoint.expose_credentials(), Some(("u", value)));
        let path = filled("https://h/a{{secret:s}}/b", value).unwrap().expose_url().path().to_owned();
        assert_eq!(percent_decode_str(&path).decode_utf8().unwrap(), format!("/a{value}/b"));
    }
}

#[test]
fn a_value_that_would_change_the_path_is_a_problem() {
    for (text, value) in [
        ("https://h/{{secret:s}}", ".."),
        ("https://h/a/{{secret:s}}/b", "."),
        ("https://h/a/{{secret:s}}", "x/../../y"),
        ("https://h/a/.{{secret:s}}", "."),
        ("https://h/a/%2E{{secret:s}}", "."),
    ] {
        assert_eq!(filled(text, value).unwrap_err(), DOTS, "{text} {value}");
    }
    assert!(EndpointTemplate::parse("https://h/a/../{{secret:s}}").is_err());
    assert!(EndpointTemplate::parse("https://h/a/../b").is_ok());
    for value in ["...", ".x", "x..", "a..b/c."] {
        assert!(filled("https://h/{{secret:s}}", value).is_ok(), "{value}");
    }
}

#[test]
fn references_never_stand_in_scheme_host_or_port() {
    for text in [
        "{{secret:s}}",
        "{{secret:s}}://h/",
        "https://{{secret:s}}/",
        "https://{{secret:s}}.example.com/",
        "https://h{{secret:s}}/",
        "https://h:{{secret:s}}/",
        "https://h:8{{secret:s}}/",
        "http{{secret:s}}://h/",
        "https://u@{{secret:s}}",
        "https://[{{secret:s}}]/",
        "https:{{secret:s}}//h/",
        "https://{{secret:s}}",
    ] {
        assert!(EndpointTemplate::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_value_cannot_move_the_request_to_another_host() {
    for text in
        ["https://h{{secret:s}}", "https://h/{{secret:s}}", "https://h?{{secret:s}}", "https://u:{{secret:s}}@h/"]
    {
        for value in [
            "@evil.example/",
            ".evil.example",
            ":1@evil.example",
            "/@evil.example",
            "\\@evil.example",
            "//evil.example/",
            "x@evil.example/#",
        ] {
            if EndpointTemplate::parse(text).is_ok() {
                assert_eq!(filled(text, value).unwrap().origin(), "https://h", "{text} {value}");
            }
        }
    }
    let template = EndpointTemplate::parse("https://h/{{secret:s}}").unwrap();
    assert_eq!(template.resolve(&Resolved::default()), Err("references that all have a value"));
}

#[test]
fn headers_of_the_connection_and_of_the_handler_are_refused() {
    for name in [
        "Host",
        "content-length",
        "Content-Type",
        "transfer-encoding",
        "Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Proxy-Authorization",
        "webhook-id",
        "Webhook-Signature",
        "webhook_signature",
        "Transfer_Encoding",
        "Content_Length",
        "proxy_connection",
        "",
        "a b",
        "ü",
    ] {
        assert!(header_name(name).is_err(), "{name}");
    }
    for value in ["", " v", "v ", "a\nb", "ü", "a\tb"] {
        assert!(header_value(value).is_err(), "{value:?}");
    }
    assert_eq!(format!("{:?}", header_value("Bearer SECRET").unwrap()), "Sensitive");
}

#[test]
fn url_and_user_together_make_the_fingerprint() {
    let of = |text: &str| Endpoint::parse(text).unwrap().fingerprint();
    assert_eq!(of("https://h/x"), of("https://H:443/x"));
    let others = ["https://h/x", "https://h/y", "http://h/x", "https://u@h/x", "https://u:p@h/x"].map(of);
    assert_eq!(std::collections::HashSet::from(others).len(), others.len());
}

#[test]
fn scheme_host_and_origin_are_those_of_the_url() {
    let (plain, tls) = (Endpoint::parse("http://10.0.0.1/").unwrap(), Endpoint::parse("https://h/").unwrap());
    assert!(plain.is_plain_http() && !tls.is_plain_http());
    assert_eq!((plain.host(), tls.host()), (Some(Host::Ipv4([10, 0, 0, 1].into())), Some(Host::Domain("h"))));
    assert_eq!(EndpointTemplate::parse("https://{{secret:a}}@h:8443/x").unwrap().origin(), "https://h:8443");
}

//! Where one may be sent on to.
use super::retry::Failure;
use crate::DeliverError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// Whether two addresses are of one server: credentials of one are for the other.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host() == b.host()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Refuses addresses to which nobody should be sent: without TLS from one with TLS, to services of this very machine or of its
/// cloud from elsewhere, with a name and a password, or something else than HTTP.
pub(super) fn check_hop(from: &Url, to: &Url) -> Result<(), String> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("it is without TLS".to_owned()),
        (_, scheme) => return Err(format!("it is {scheme}, not HTTP")),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("it has a user's name in it".to_owned());
    }
    if is_local(to) && !is_local(from) {
        return Err("it is on this machine or its own network link".to_owned());
    }
    Ok(())
}

/// The refusal of a hop.
pub(super) fn refused_hop(from: &Url, to: &Url, why: String) -> Failure {
    // Signed addresses are credentials themselves.
    let shown = |url: &Url| {
        let mut url = url.clone();
        url.set_query(None);
        url.to_string()
    };
    Failure::last(DeliverError::Redirect { from: shown(from), to: shown(to), why })
}

/// Whether a server is this machine, or one that only this machine can see.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => is_local_v4(address),
        Some(Host::Ipv6(address)) => is_local_v6(address),
        None => false,
    }
}

/// Whether nothing that is sent there leaves this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_unspecified() || address.is_link_local()
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    let mapped = address.to_ipv4_mapped().is_some_and(is_local_v4);
    mapped || address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn hop_is_allowed_to_another_host_with_tls_and_refused_downwards() {
        let registry = url("https://registry.example.com/v2/a/blobs/b");
        assert_eq!(check_hop(&registry, &url("https://cdn.example.org/x?signature=1")), Ok(()));
        let refused = [
            "http://registry.example.com/x",
            "http://127.0.0.1/x",
            "https://127.0.0.1/x",
            "https://localhost:9000/x",
            "https://[::1]/x",
            "https://[::ffff:169.254.169.254]/x",
            "https://169.254.169.254/latest/meta-data",
            "https://2130706433/x",
            "https://user@cdn.example.org/x",
            "file:///etc/passwd",
            "ftp://cdn.example.org/x",
        ];
        for to in refused {
            assert!(check_hop(&registry, &url(to)).is_err(), "{to}");
        }
        let here = url("http://127.0.0.1:5000/x");
        assert_eq!(check_hop(&here, &url("http://127.0.0.1:6000/x")), Ok(()));
    }

    #[test]
    fn origin_is_scheme_host_and_port() {
        let a = url("https://a.example.com/x");
        assert!(same_origin(&a, &url("https://a.example.com:443/y")));
        for other in
            ["http://a.example.com/x", "https://a.example.com:444/x", "https://b.example.com/x"]
        {
            assert!(!same_origin(&a, &url(other)), "{other}");
        }
    }
}

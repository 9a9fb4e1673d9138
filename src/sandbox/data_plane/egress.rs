//! How a pod's traffic gets to its proxy: on a node through iptables, here as an HTTP proxy of the environment.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Where App Mesh's Envoy takes what the application sends out.
pub const PORT: u16 = 15001;

/// Sends a container's HTTP requests to the pod's Envoy. Loopback stays direct, as the redirection leaves it.
pub fn environment(env: &mut BTreeMap<String, String>, twin: IpAddr) {
    let proxy = format!("http://{twin}:{PORT}");
    for (name, value) in [
        ("http_proxy", proxy.as_str()),
        ("HTTP_PROXY", proxy.as_str()),
        ("no_proxy", "localhost,127.0.0.1,169.254.169.254"),
        ("NO_PROXY", "localhost,127.0.0.1,169.254.169.254"),
    ] {
        // What the pod's author says wins.
        env.entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
}

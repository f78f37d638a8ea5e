//! A network of a test's own: a namespace with nothing but loopback, and names that lead where the test says.

use std::net::IpAddr;
use std::process::Command;

use tokio::net::UdpSocket;

/// Starts this very program again in a namespace, where the ignored test `name` does the work.
pub(crate) fn run_inside(name: &str) -> String {
    let mut command = Command::new("unshare");
    if Command::new("id").arg("-u").output().unwrap().stdout != b"0\n" {
        command.arg("--map-root-user");
    }
    let output = command
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("`unshare` of util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    text
}

pub(crate) fn run(command: &str) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes loopback and the name server's address usable, inside.
pub(crate) fn set_up() {
    // Not by accident on a machine's own network.
    assert!(
        std::fs::read_to_string("/proc/net/dev").unwrap().lines().count() <= 3 + 8,
        "this is no namespace of its own"
    );
    run("ip link set lo up");
    run(
        "echo 'nameserver 127.0.0.1' > /tmp/resolv.$$ && mount --bind /tmp/resolv.$$ /etc/resolv.conf && rm -f /tmp/resolv.$$",
    );
}

/// What the name server says of a name.
pub(crate) enum Says {
    Nothing,
    /// RFC 1035, section 4.1.1: 2 is SERVFAIL, 3 is NXDOMAIN.
    Code(u8),
    Addresses(Vec<IpAddr>),
}

/// A name server that answers as the test says, which is told the name and whether IPv6 is asked for.
pub(crate) async fn name_server(says: impl Fn(&str, bool) -> Says + Send + 'static) {
    let socket = UdpSocket::bind("127.0.0.1:53").await.unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            if let Some(answer) = respond(&query[..length], &says) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
}

/// RFC 1035, section 4: the header, the question as it came, and an answer per address.
fn respond(query: &[u8], says: &impl Fn(&str, bool) -> Says) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    while query[at] != 0 {
        let length = usize::from(query[at]);
        name += &String::from_utf8_lossy(&query[at + 1..=at + length]);
        name.push('.');
        at += 1 + length;
    }
    let is_v6 = query[at + 2] == 28;
    let question = &query[12..at + 5];
    let (code, mut addresses) = match says(&name.trim_end_matches('.').to_ascii_lowercase(), is_v6) {
        Says::Nothing => return None,
        Says::Code(code) => (code, Vec::new()),
        Says::Addresses(addresses) => (0, addresses),
    };
    addresses.retain(|ip| ip.is_ipv6() == is_v6);
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(question);
    for ip in addresses {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let (kind, length) = (if is_v6 { 28 } else { 1 }, u8::try_from(octets.len()).unwrap());
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, length]);
        answer.extend(octets);
    }
    Some(answer)
}

pub(crate) fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

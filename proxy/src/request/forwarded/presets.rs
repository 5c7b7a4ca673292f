//! Proxies that publish their addresses.

use std::net::IpAddr;

use ipnet::IpNet;

/// A well-known proxy whose addresses this program carries. Where the list has grown old, write the ranges out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// `https://www.cloudflare.com/ips/`, in force since 28 September 2023.
    Cloudflare,
}

impl Preset {
    /// The preset of this name in settings.
    pub fn by_name(name: &str) -> Option<Preset> {
        match name {
            "cloudflare" => Some(Preset::Cloudflare),
            _ => None,
        }
    }

    /// The addresses it stands for.
    pub fn ranges(self) -> Vec<IpNet> {
        let published: &[(&str, u8)] = match self {
            Preset::Cloudflare => &CLOUDFLARE,
        };
        // A test reads every line, so none is lost here.
        let parse = |(address, length): &(&str, u8)| {
            let address: IpAddr = address.parse().ok()?;
            IpNet::new(address, *length).ok()
        };
        published.iter().filter_map(parse).collect()
    }
}

pub(super) const CLOUDFLARE: [(&str, u8); 22] = [
    ("173.245.48.0", 20),
    ("103.21.244.0", 22),
    ("103.22.200.0", 22),
    ("103.31.4.0", 22),
    ("141.101.64.0", 18),
    ("108.162.192.0", 18),
    ("190.93.240.0", 20),
    ("188.114.96.0", 20),
    ("197.234.240.0", 22),
    ("198.41.128.0", 17),
    ("162.158.0.0", 15),
    ("104.16.0.0", 13),
    ("104.24.0.0", 14),
    ("172.64.0.0", 13),
    ("131.0.72.0", 22),
    ("2400:cb00::", 32),
    ("2606:4700::", 32),
    ("2803:f800::", 32),
    ("2405:b500::", 32),
    ("2405:8100::", 32),
    ("2a06:98c0::", 29),
    ("2c0f:f248::", 32),
];

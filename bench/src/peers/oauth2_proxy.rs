//! nginx with `auth_request` to OAuth2-Proxy, as people put it in front of applications.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Command, Place, Prepared, nginx};
use crate::child;
use crate::failure::{Doing, Failure};

/// Both programs; OAuth2-Proxy listens where the others speak TLS.
pub(crate) fn prepare(place: &Place<'_>) -> Result<Prepared, Failure> {
    nginx::configure(place, NGINX)?;
    // {SHA}, base64 of the SHA-1 of "visitor".
    place.write("users", "visitor:{SHA}TtBChQWwuJ/nvBoBko7xvUx3wb4=\n")?;
    let listen = place.tls.to_string();
    let users = place.path("users");
    let flags = [
        format!("--http-address={listen}"),
        format!("--htpasswd-file={users}"),
        "--client-id=bench".into(),
        "--client-secret=bench".into(),
        "--cookie-secret=0123456789abcdef0123456789abcdef".into(),
        "--cookie-secure=false".into(),
        "--email-domain=*".into(),
        "--upstream=static://202".into(),
        "--reverse-proxy=true".into(),
        "--set-xauthrequest=true".into(),
        "--request-logging=false".into(),
        "--auth-logging=false".into(),
        "--standard-logging=false".into(),
    ];
    let binary = "oauth2-proxy";
    let proxy =
        Command { binary: "nginx".into(), arguments: nginx::arguments(place).into(), mend: nginx::MEND };
    let asked = Command {
        binary: binary.into(),
        arguments: flags.into(),
        mend: "build it: bench/run --peers oauth2-proxy",
    };
    Ok(Prepared {
        commands: vec![proxy, asked],
        version: child::version(binary.as_ref(), "--version"),
        cookie: None,
    })
}

/// Signs in with a password; the session as browsers send it.
pub(crate) fn sign_in(address: SocketAddr) -> Result<String, Failure> {
    let form = "username=visitor&password=visitor";
    let request = format!(
        "POST /oauth2/sign_in HTTP/1.1\r\nHost: guarded.bench.test\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut answer = String::new();
    let arrived = child::until(std::time::Duration::from_secs(10), || {
        answer.clear();
        TcpStream::connect(address)
            .and_then(|mut stream| {
                stream.write_all(request.as_bytes())?;
                stream.read_to_string(&mut answer)
            })
            .is_ok()
    });
    let cookies: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("Set-Cookie: ")?.split(';').next())
        .filter(|cookie| cookie.starts_with("_oauth2_proxy") && !cookie.ends_with("_proxy="))
        .collect();
    match cookies.is_empty() {
        false => Ok(cookies.join("; ")),
        true if arrived => {
            Err(Failure::Load(format!("OAuth2-Proxy gave no session: {:?}", answer.lines().next())))
        }
        true => Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
            .doing(|| format!("sign in at {address}")),
    }
}

const NGINX: &str = include_str!("../../peers/nginx-oauth2-proxy.conf");

//! A real nginx, to compare with: `apt-get install nginx-light`.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::ports;
use crate::wait::eventually;

/// An nginx with one server, ended with this.
pub struct Nginx {
    pub address: SocketAddr,
    process: Child,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// `http` and `server` are lines of these contexts; `listen` is what follows the address, such as `ssl`. Each of the
    /// `files` is written first, and its name stands for its path in the lines.
    pub fn start(listen: &str, http: &str, server: &str, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = ports::unused();
        let path = directory.path().display();
        let mut text = format!(
            "daemon off; master_process off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{\naccess_log off; server_tokens off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s; absolute_redirect on; port_in_redirect off;\n\
             proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection '';\n\
             {http}\nserver {{ listen {address} {listen}; server_name _; client_max_body_size 1m;\n{server}\n}} }}\n"
        );
        for (name, content) in files {
            let file = directory.path().join(name);
            std::fs::write(&file, content).expect("a file");
            text = text.replace(name, &file.display().to_string());
        }
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, text).expect("a file");
        let process = Command::new("nginx")
            .args(["-p".as_ref(), directory.path().as_os_str(), "-c".as_ref(), file.as_os_str()])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx: apt-get install nginx-light");
        eventually("nginx answers", || TcpStream::connect(address).is_ok());
        Nginx { address, process, _directory: directory }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

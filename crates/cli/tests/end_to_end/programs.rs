//! Programs as the distribution has them, unmodified, as servers and as clients.

use crate::stage::{On, PATIENCE, Stage, eventually, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{as_root, peer::Pattern};
use std::{fs, path::Path, time::Duration};

const SIZE: u64 = 8 << 20;

/// A file to serve in the stage's directory, and its content.
fn write_file(stage: &Stage) -> Result<Vec<u8>> {
    let pattern = Pattern::shared();
    let mut content = Vec::new();
    while (content.len() as u64) < SIZE {
        content.extend(pattern.at(content.len() as u64));
    }
    content.truncate(SIZE as usize);
    fs::write(stage.directory().join("file"), &content)?;
    Ok(content)
}

/// Every pair of ends with Narrows at one of them.
const PAIRS: [(On, On); 3] =
    [(On::Narrows, On::Kernel), (On::Kernel, On::Narrows), (On::Narrows, On::Narrows)];

/// Fetches with curl and wget, those installed, and compares.
fn fetch_file(stage: &Stage, client: On, url: &str, content: &[u8]) -> Result<()> {
    let target = stage.directory().join("fetched");
    let compare = |program: &str| -> Result<()> {
        let fetched = fs::read(&target)?;
        ensure!(fetched == content, "{program} on {client:?}: {} bytes differ", fetched.len());
        Ok(fs::remove_file(&target)?)
    };
    if let Some(curl) = installed("curl")? {
        let mut command = stage.command(client, curl);
        command.args(["-sS", "--fail", "--max-time", "60", "--noproxy", "*", url, "-o"]);
        succeed({
            command.arg(&target);
            command
        })?;
        compare("curl")?;
    }
    if let Some(wget) = installed("wget")? {
        let mut command = stage.command(client, wget);
        command.args(["-q", "--no-proxy", "--tries=1", "--timeout=60", url, "-O"]).arg(&target);
        succeed(command)?;
        compare("wget")?;
    }
    Ok(())
}

#[test]
fn python_serves_and_curl_and_wget_fetch() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let content = write_file(&stage)?;
        for (port, (server, client)) in (8000..).zip(PAIRS) {
            let mut command = stage.command(server, &python);
            command.args(["-m", "http.server", "--bind", &server.address().to_string()]);
            command.arg("--directory").arg(stage.directory()).arg(port.to_string());
            let _server = stage.serve(server, port, command)?;
            fetch_file(&stage, client, &format!("http://{}/file", server.port(port)), &content)?;
        }
        Ok(())
    })
}

#[test]
fn nginx_serves_with_two_workers() -> Result<()> {
    as_root(|| {
        let Some(nginx) = installed("nginx")? else { return Ok(()) };
        let stage = Stage::new()?;
        let content = write_file(&stage)?;
        for (port, (server, client)) in (8080..).zip(PAIRS) {
            let configuration = nginx_configuration(stage.directory(), server, port);
            let path = stage.directory().join("nginx.conf");
            fs::write(&path, configuration)?;
            let mut command = stage.command(server, &nginx);
            command.arg("-e").arg(stage.directory().join("error.log")).arg("-c").arg(&path);
            command.arg("-p").arg(stage.directory());
            let mut nginx = stage.serve(server, port, command)?;
            let url = format!("http://{}/file", server.port(port));
            fetch_file(&stage, client, &url, &content)?;
            keep_alive(&stage, client, &url)?;
            let status = nginx.terminate(PATIENCE)?;
            ensure!(status.success(), "nginx on {server:?}: {status}");
        }
        eventually("nginx's sockets are gone", || Ok(stage.owned_sockets()? == 0))
    })
}

fn nginx_configuration(directory: &Path, server: On, port: u16) -> String {
    let (directory, address) = (directory.display(), server.port(port));
    format!(
        "daemon off;\nuser root;\nworker_processes 2;\npid {directory}/nginx.pid;\n\
         error_log {directory}/error.log;\nevents {{ worker_connections 256; }}\n\
         http {{\n access_log off;\n sendfile on;\n\
         client_body_temp_path {directory}/body;\n proxy_temp_path {directory}/proxy;\n\
         fastcgi_temp_path {directory}/fastcgi;\n uwsgi_temp_path {directory}/uwsgi;\n\
         scgi_temp_path {directory}/scgi;\n\
         server {{ listen {address}; root {directory}; }}\n}}\n"
    )
}

/// Several requests over one connection.
fn keep_alive(stage: &Stage, client: On, url: &str) -> Result<()> {
    let Some(curl) = installed("curl")? else { return Ok(()) };
    let mut command = stage.command(client, curl);
    command.args(["-sS", "--fail", "--max-time", "60", "--noproxy", "*", "--head"]);
    command.args(["-w", "connects %{num_connects}\n", url, url, url]);
    let output = succeed(command)?;
    let connects: Vec<&str> =
        output.lines().filter_map(|line| line.strip_prefix("connects ")).collect();
    ensure!(connects == ["1", "0", "0"], "{connects:?}");
    Ok(())
}

#[test]
fn redis_answers_its_benchmark() -> Result<()> {
    as_root(|| {
        let (Some(redis), Some(benchmark)) =
            (installed("redis-server")?, installed("redis-benchmark")?)
        else {
            return Ok(());
        };
        let stage = Stage::new()?;
        for (port, (server, client)) in (6379..).zip(PAIRS) {
            let (ip, port_text) = (server.address().to_string(), port.to_string());
            let mut command = stage.command(server, &redis);
            command.args(["--bind", &ip, "--port", &port_text, "--protected-mode", "no"]);
            command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(stage.directory());
            let _server = stage.serve(server, port, command)?;
            let mut command = stage.command(client, &benchmark);
            command.args(["-h", &ip, "-p", &port_text, "-n", "3000", "-c", "50", "-q"]);
            let output = succeed({
                command.args(["-t", "ping,set,get,lrange_100"]);
                command
            })?;
            ensure!(output.contains("GET: "), "{client:?} to {server:?}: {output}");
        }
        Ok(())
    })
}

#[test]
fn iperf3_runs_both_ways() -> Result<()> {
    as_root(|| {
        let Some(iperf3) = installed("iperf3")? else { return Ok(()) };
        let stage = Stage::new()?;
        for (port, (server, client)) in (5201..).zip(PAIRS) {
            let (ip, port_text) = (server.address().to_string(), port.to_string());
            let mut command = stage.command(server, &iperf3);
            command.args(["-s", "-B", &ip, "-p", &port_text, "--forceflush"]);
            let _server = stage.start(command, "Server listening")?;
            for (direction, streams) in [(&[][..], "1"), (&["-R"], "1"), (&["--bidir"], "2")] {
                let mut command = stage.command(client, &iperf3);
                command.args(["-c", &ip, "-p", &port_text, "-t", "1", "-P", streams, "-J"]);
                command.args(["-C", "cubic"]).args(direction);
                let output = succeed(command)?;
                let json: serde_json::Value = serde_json::from_str(&output)?;
                let rate = json["end"]["sum_received"]["bits_per_second"].as_f64();
                let rate = rate.with_context(|| output.clone())?;
                ensure!(rate > 1e6, "{client:?} to {server:?} {direction:?}: {rate} bit/s");
                // The server is busy until it has seen the end.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    })
}

//! A claim until it is confirmed: by the message bus, beside a bare git remote on the same disk.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::room::{Room, agentpm, command, git};
use crate::run::{Rounds, in_turn, printed, run, time};
use crate::table::{Line, Most, Report, Unit};

/// How long the server may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// A NATS server, ended when this is dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// `None` where there is no such program.
    fn start(room: &Room) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        let port = free.port().to_string();
        let store = room.at("nats").display().to_string();
        let mut server =
            command("nats-server", Path::new("/"), &["-a", "127.0.0.1", "-p", &port, "-js", "-sd", &store]);
        let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let begun = Instant::now();
        while TcpStream::connect(free).is_err() {
            assert!(begun.elapsed() < PATIENCE, "nats-server does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Server { child, url: format!("nats://127.0.0.1:{port}") })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Claims in many clones of one plan, each of another task.
pub fn measure(room: &Room, report: &mut Report) {
    let Some(server) = Server::start(room) else {
        eprintln!("confirmed: not measured, since there is no nats-server on PATH");
        return;
    };
    let (many, rounds) = if room.asked.small { (2, Rounds::ONE) } else { (16, Rounds::SOME) };
    room.tell(&format!("claims in {many} clones"));
    let clones = |remote: &str| {
        let origin = room.empty(&format!("{remote}-origin"));
        let tasks: Vec<String> = (0..=rounds.most)
            .map(|n| printed(agentpm(&origin, "bench", &["add", &format!("task {n}"), "--quiet"])).trim().to_owned())
            .collect();
        std::fs::write(origin.join(".agentpm/config.toml"), format!("format = 1\n[lease]\nremote = \"{remote}\"\n"))
            .expect("the settings are written");
        run(git(&origin, &["add", "-A"]));
        run(git(&origin, &["commit", "-q", "-m", "begin"]));
        let bare = room.at(&format!("{remote}.git"));
        run(git(&origin, &["clone", "-q", "--bare", ".", &bare.display().to_string()]));
        let paths: Vec<PathBuf> = (0..many).map(|n| room.at(&format!("{remote}-{n}"))).collect();
        for path in &paths {
            run(git(&bare, &["clone", "-q", ".", &path.display().to_string()]));
            // The index of each clone is there, as in one that is used.
            run(agentpm(path, "bench", &["next"]));
        }
        (paths, tasks)
    };
    let claim = |(paths, tasks): &(Vec<PathBuf>, Vec<String>), n: usize| {
        let mut claim = agentpm(&paths[n % many], "bench", &["claim", &tasks[n], "--quiet"]);
        claim.env("AGENTPM_BUS_URL", &server.url);
        time(claim)
    };
    let (bus, origin) = (clones("bus"), clones("origin"));
    room.settle();
    let (ours, floor) = in_turn(rounds, |n| claim(&bus, n), |n| claim(&origin, n));
    let confirmed = |(paths, _): &(Vec<PathBuf>, Vec<String>), n: usize| {
        let listed = printed(agentpm(&paths[n % many], "bench", &["lease", "list", "--json"]));
        assert!(listed.contains("\"confirmed\":true"), "{listed}");
    };
    confirmed(&bus, 1);
    confirmed(&origin, 1);
    report.lines.push(Line {
        name: "confirmed",
        what: format!("claim to confirmed over the bus, {many} clones"),
        tasks: None,
        beside: "the same at a bare git remote".into(),
        most: Most::Times(0.05),
        unit: Unit::Ms,
        ours,
        floor: Some(floor),
        cold: None,
    });
}

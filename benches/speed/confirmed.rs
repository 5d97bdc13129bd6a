//! A claim until it is confirmed, and an event until it is seen in another clone: over the message bus, beside a bare git remote on the
//! same disk.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use agentpm::store::layout::{LOG, STORE, task_dir};

use crate::room::{Room, agentpm, command, git};
use crate::run::{Rounds, in_turn, printed, run};
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

/// How many clones claim at once.
const CLONES: [usize; 3] = [1, 4, 16];
/// Events that go from one clone to another at once.
const EVENTS: usize = 1_000;

/// Claims in clones of one plan, each of another task; and events from one clone to another.
pub fn measure(room: &Room, report: &mut Report) {
    let Some(server) = Server::start(room) else {
        eprintln!("confirmed: not measured, since there is no nats-server on PATH");
        return;
    };
    let small = room.asked.small;
    for many in CLONES.into_iter().filter(|many| !small || *many < 16) {
        claims(room, report, &server, many, if small { Rounds::ONE } else { Rounds::SOME });
    }
    events(room, report, &server, if small { Rounds::ONE } else { Rounds::SOME });
}

/// A plan with so many tasks, a bare remote of it, and clones. Leases are confirmed by `remote`.
fn clones(room: &Room, name: &str, remote: &str, many: usize, tasks: usize) -> (Vec<PathBuf>, Vec<String>) {
    let origin = room.empty(&format!("{name}-origin"));
    let tasks: Vec<String> = (0..tasks)
        .map(|n| printed(agentpm(&origin, "bench", &["add", &format!("task {n}"), "--quiet"])).trim().to_owned())
        .collect();
    let settings = format!("format = 1\n[lease]\nremote = \"{remote}\"\n");
    std::fs::write(origin.join(".agentpm/config.toml"), settings).expect("the settings are written");
    run(git(&origin, &["add", "-A"]));
    run(git(&origin, &["commit", "-q", "-m", "begin"]));
    let bare = room.at(&format!("{name}.git"));
    run(git(&origin, &["clone", "-q", "--bare", ".", &bare.display().to_string()]));
    let paths: Vec<PathBuf> = (0..many).map(|n| room.at(&format!("{name}-{n}"))).collect();
    for path in &paths {
        run(git(&bare, &["clone", "-q", ".", &path.display().to_string()]));
        // The index of each clone is there, as in one that is used.
        run(agentpm(path, "bench", &["next"]));
    }
    (paths, tasks)
}

fn claims(room: &Room, report: &mut Report, server: &Server, many: usize, rounds: Rounds) {
    room.tell(&format!("claims in {many} clones"));
    let made = |remote: &str| clones(room, &format!("{remote}-of-{many}"), remote, many, many * (rounds.most + 1));
    // Every clone claims a task of its own, all at once; the longest of them is what counts.
    let claim = |(paths, tasks): &(Vec<PathBuf>, Vec<String>), n: usize| {
        let begun = Instant::now();
        let children: Vec<Child> = (0..many)
            .map(|clone| {
                let mut claim = agentpm(&paths[clone], "bench", &["claim", &tasks[n * many + clone], "--quiet"]);
                claim.env("AGENTPM_BUS_URL", &server.url).stdout(Stdio::null()).stderr(Stdio::null());
                claim.spawn().expect("agentpm starts")
            })
            .collect();
        for mut child in children {
            assert!(child.wait().expect("it ends").success(), "a claim was refused");
        }
        begun.elapsed()
    };
    let (bus, origin) = (made("bus"), made("origin"));
    room.settle();
    let (ours, floor) =
        in_turn(rounds, |n| claim(&bus, n % (rounds.most + 1)), |n| claim(&origin, n % (rounds.most + 1)));
    for (paths, _) in [&bus, &origin] {
        let listed = printed(agentpm(&paths[0], "bench", &["lease", "list", "--json"]));
        assert!(!listed.contains("\"confirmed\":false") && listed.contains("\"confirmed\":true"), "{listed}");
    }
    let clones = if many == 1 { "1 clone".to_owned() } else { format!("{many} clones at once") };
    report.lines.push(Line {
        name: "confirmed",
        what: format!("claim to confirmed over the bus, {clones}"),
        tasks: None,
        beside: "the same at a bare git remote".into(),
        most: if many == 16 { Most::Times(0.05) } else { Most::Anything },
        unit: Unit::Ms,
        ours,
        floor: Some(floor),
        cold: None,
    });
}

/// A bridge, ended when this is dropped.
struct Bridge(Child);

impl Bridge {
    fn start(dir: &Path, url: &str) -> Self {
        let mut bridge = agentpm(dir, "bench", &["bus", "--url", url]);
        Bridge(bridge.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("agentpm starts"))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn events(room: &Room, report: &mut Report, server: &Server, rounds: Rounds) {
    room.tell("events from clone to clone");
    let (bus, tasks) = clones(room, "bus-events", "", 2, 1);
    let (origin, of_git) = clones(room, "git-events", "", 2, 1);
    let notes = |count: usize, task: &str| {
        let op = |n| serde_json::json!({ "op": "context.add", "args": { "task": task, "type": "note", "content": format!("note {n}") } });
        serde_json::Value::from((0..count).map(op).collect::<Vec<_>>()).to_string()
    };
    let lines = |dir: &Path, task: &str| {
        let log = dir.join(STORE).join(task_dir(task.parse().expect("an id"))).join(LOG);
        std::fs::read(log).expect("a log").iter().filter(|byte| **byte == b'\n').count()
    };
    let write = |dir: &Path, task: &str, count: usize| {
        let file = dir.with_extension("ops.json");
        std::fs::write(&file, notes(count, task)).expect("the batch is written");
        run(agentpm(dir, "bench", &["batch", "--file", &file.display().to_string()]));
    };
    let bridges: Vec<Bridge> = bus.iter().map(|dir| Bridge::start(dir, &server.url)).collect();
    std::thread::sleep(if room.asked.small { Duration::from_millis(300) } else { Duration::from_secs(3) });
    let over_bus = |count: usize| {
        let before = lines(&bus[1], &tasks[0]);
        let begun = Instant::now();
        write(&bus[0], &tasks[0], count);
        while lines(&bus[1], &tasks[0]) < before + count {
            assert!(begun.elapsed() < PATIENCE, "the events do not arrive");
            std::thread::sleep(Duration::from_micros(200));
        }
        begun.elapsed()
    };
    let over_git = |count: usize| {
        let begun = Instant::now();
        write(&origin[0], &of_git[0], count);
        for dir in &origin {
            run(agentpm(dir, "bench", &["sync"]));
        }
        begun.elapsed()
    };
    for (count, what) in [
        (1, "event to seen in another clone".to_owned()),
        (EVENTS, format!("{EVENTS} events to seen in another clone")),
    ] {
        room.settle();
        let rounds = if count == 1 { rounds } else { Rounds { most: rounds.most.min(5), ..rounds } };
        let (ours, floor) = in_turn(rounds, |_| over_bus(count), |_| over_git(count));
        report.lines.push(Line {
            name: "confirmed",
            what,
            tasks: None,
            beside: "`sync` in both clones".into(),
            most: Most::Anything,
            unit: Unit::Ms,
            ours,
            floor: Some(floor),
            cold: None,
        });
    }
    drop(bridges);
}

//! Child processes that never outlive the sandbox.
//!
//! Each is the leader of a process group of its own. One watcher, a small shell script that reads from a pipe, is told
//! of every group; when the pipe closes, because the sandbox ended in whatever way, SIGKILL included, it kills the groups
//! that are left. It also sends the signals, which keeps this crate free of unsafe code. Should the watcher itself have
//! been killed, the marks that processes leave in the state directory let the next start clean up.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::sandbox::controllers::Log;

/// Lines longer than this are cut into several, as container runtimes do.
const LONGEST_LINE: u64 = 16 * 1024;

/// `+ PID` and `- PID` keep the list; anything else is a signal's name and a group.
const WATCHER: &str = r#"
trap '' INT TERM HUP
live=' '
while read -r word pid; do
  case $word in
    +) live="$live$pid " ;;
    -) live="${live%% $pid *} ${live#* $pid }" ;;
    *) kill "-$word" "-$pid" 2>/dev/null ;;
  esac
done
for pid in $live; do kill -KILL "-$pid" 2>/dev/null; done
"#;

/// The pipe to the watcher, which is started with the first process.
fn watcher() -> io::Result<&'static Mutex<ChildStdin>> {
    static WATCHER_PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(pipe) = WATCHER_PIPE.get() {
        return Ok(pipe);
    }
    let mut command = std::process::Command::new("/bin/sh");
    command
        .args(["-c", WATCHER, "meshctl-sandbox-watcher"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Out of the terminal's process group: Ctrl-C must not take the watcher before the sandbox.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let pipe = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("the watcher has no pipe"))?;
    // It ends when this process does; nobody waits for it.
    drop(child);
    Ok(WATCHER_PIPE.get_or_init(|| Mutex::new(pipe)))
}

fn tell(word: &str, group: u32) -> io::Result<()> {
    let mut pipe = watcher()?
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    // One write, shorter than a pipe's buffer: never mixed with another.
    pipe.write_all(format!("{word} {group}\n").as_bytes())
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program's path on this machine.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Where marks of running processes are kept: `DIR/processes`.
    pub marks: PathBuf,
}

/// A running process and the group it leads. Dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: u32,
    mark: PathBuf,
    over: bool,
}

impl Process {
    /// Starts a process; its output goes to `log`, line by line.
    pub fn start(start: &Start, log: &Log) -> io::Result<Process> {
        watcher()?;
        std::fs::create_dir_all(&start.marks)?;
        let mut child = Command::new(&start.program)
            .args(&start.args)
            .env_clear()
            .envs(&start.env)
            .current_dir(&start.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child
            .id()
            .ok_or_else(|| io::Error::other("the process ended before it began"))?;
        tell("+", group)?;
        let mark = start.marks.join(group.to_string());
        // A mark that cannot be written only weakens the second line of defence.
        let _ = std::fs::write(&mark, started_at(group).unwrap_or_default());
        if let Some(output) = child.stdout.take() {
            tokio::spawn(copy_lines(output, log.clone()));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(copy_lines(output, log.clone()));
        }
        Ok(Process {
            child,
            group,
            mark,
            over: false,
        })
    }

    /// Waits until the process has ended and answers its exit code, 128 + N for a signal N as shells have it.
    /// Whatever it left behind in its group is killed. Safe to drop and call again.
    pub async fn wait(&mut self) -> i32 {
        let code = match self.child.wait().await {
            Ok(status) => exit_code(status),
            Err(_) => -1,
        };
        self.forget();
        code
    }

    /// Asks the group to end with SIGTERM, and kills it when it has not ended in time. Answers the exit code.
    pub async fn stop(&mut self, grace: Duration) -> i32 {
        let _ = tell("TERM", self.group);
        if let Ok(code) = tokio::time::timeout(grace, self.wait()).await {
            return code;
        }
        let _ = tell("KILL", self.group);
        self.wait().await
    }

    fn forget(&mut self) {
        if !self.over {
            self.over = true;
            let _ = tell("KILL", self.group);
            let _ = tell("-", self.group);
            let _ = std::fs::remove_file(&self.mark);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.forget();
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

async fn copy_lines(output: impl AsyncRead + Unpin, log: Log) {
    use tokio::io::AsyncReadExt;
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                while matches!(line.last(), Some(b'\n' | b'\r')) {
                    line.pop();
                }
                log(&String::from_utf8_lossy(&line));
            }
        }
    }
}

/// When a process started, in whatever form the system tells it: together with the id it identifies a process.
pub fn started_at(pid: u32) -> Option<String> {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The name in parentheses may hold spaces; the start time is the 20th field after it.
        return stat
            .rsplit(')')
            .next()?
            .split_whitespace()
            .nth(19)
            .map(str::to_owned);
    }
    let output = std::process::Command::new("ps")
        .args(["-o", "lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Kills what an earlier sandbox with these marks left running. Called once, before the first process is started.
pub fn clean_up(marks: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(marks) else {
        return 0;
    };
    let mut killed = 0;
    for entry in entries.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        let marked = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if let Some(pid) = pid
            && !marked.is_empty()
            && started_at(pid).as_deref() == Some(&marked)
            && tell("KILL", pid).is_ok()
        {
            killed += 1;
        }
        let _ = std::fs::remove_file(entry.path());
    }
    killed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn shell(script: &str, marks: &Path) -> Start {
        Start {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            directory: "/".into(),
            marks: marks.into(),
        }
    }

    fn lines() -> (Log, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let log: Log = Arc::new(move |line: &str| drop(sender.send(line.to_owned())));
        (log, receiver)
    }

    async fn gone(pid: &str) {
        let alive = || {
            std::process::Command::new("/bin/sh")
                .args(["-c", "kill -0 $0 2>/dev/null", pid])
                .status()
        };
        while alive().is_ok_and(|status| status.success()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_process_logs_and_answers_its_code() {
        let scratch = tempfile::tempdir().unwrap();
        let marks = scratch.path().to_owned();
        let (log, mut said) = lines();
        let mut process =
            Process::start(&shell("echo out; echo err >&2; exit 7", &marks), &log).unwrap();
        assert_eq!(process.wait().await, 7);
        let mut both = [said.recv().await.unwrap(), said.recv().await.unwrap()];
        both.sort();
        assert_eq!(both, ["err", "out"]);
    }

    #[tokio::test]
    async fn stopping_takes_the_whole_group_even_when_it_will_not_end() {
        let scratch = tempfile::tempdir().unwrap();
        let marks = scratch.path().to_owned();
        let (log, mut said) = lines();
        let script = "trap '' TERM; sleep 600 & echo $!; while :; do sleep 600; done";
        let mut process = Process::start(&shell(script, &marks), &log).unwrap();
        let child = said.recv().await.unwrap();
        assert_eq!(process.stop(Duration::from_millis(50)).await, 137);
        tokio::time::timeout(Duration::from_secs(5), gone(&child))
            .await
            .unwrap();
        assert_eq!(std::fs::read_dir(&marks).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_an_earlier_sandbox_left_is_killed_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let marks = scratch.path().to_owned();
        let (log, mut said) = lines();
        let mut process = Process::start(&shell("echo $$; exec sleep 600", &marks), &log).unwrap();
        let pid = said.recv().await.unwrap();
        // A mark of a process that is another one by now must be left alone: this test's own.
        std::fs::write(marks.join(std::process::id().to_string()), "another time").unwrap();
        assert_eq!(clean_up(&marks), 1);
        assert_eq!(process.wait().await, 137);
        tokio::time::timeout(Duration::from_secs(5), gone(&pid))
            .await
            .unwrap();
    }
}

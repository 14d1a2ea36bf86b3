"""Runs what `npm run gpu:pack` packed, on a Linux machine (x86-64) that has Python and a GPU's driver, and nothing else.

    python3 tools/gpu/device.py measure --seconds 380 [--train avatars-64]
    python3 tools/gpu/device.py train avatars-64 --seconds 220
    python3 tools/gpu/device.py facts

From the root of a copy of the repository with gpu-pack/ in it. Results go to $OUT (default: tests/output/gpu), whole at
any time. `measure` proves, then measures; if no driver of a GPU answers, it trains at once, for all the time there is.
Only Python's own library here: PyTorch is asked for by what trains.
"""

import argparse
import glob
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "gpu-pack"
RUN = PACK / "run"  # what is unpacked, and what is kept from one call to the next
OUT = Path(os.environ.get("OUT", ROOT / "tests" / "output" / "gpu"))
NODE = RUN / "bin" / "node"
LEAST_GLIBC = (2, 34)
# What a lent machine gives back, less a little.
MOST_FILES, MOST_MIB = 8, 60

began = time.time()


def say(text: str) -> None:
    print(f"[{time.time() - began:5.1f} s] {text}", flush=True)


def unpack() -> None:
    """Node, Dawn, the programs: from the archives, once."""
    archives = sorted(PACK.glob("*.tar.xz"))
    if not archives:
        raise SystemExit(f"{PACK} has no archives: npm run gpu:pack")
    stamp = json.dumps([(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in archives])
    marker = RUN / "unpacked.json"
    if marker.exists() and marker.read_text() == stamp:
        return

    def one(path: Path) -> None:
        with tarfile.open(path) as tar:
            tar.extractall(RUN, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(RUN)

    threads = [threading.Thread(target=one, args=(path,)) for path in archives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    marker.write_text(stamp)
    say("unpacked")


def libraries(names: list[str]) -> dict[str, str]:
    """Of these shared libraries, the paths of those that the machine's loader knows."""
    ldconfig = next((p for p in ("/sbin/ldconfig", "/usr/sbin/ldconfig") if os.path.exists(p)), "ldconfig")
    known = subprocess.run([ldconfig, "-p"], capture_output=True, text=True).stdout
    found = {}
    for line in known.splitlines():
        name, _, path = line.strip().partition(" ")
        if name in names and "x86-64" in line:
            found.setdefault(name, path.split("=> ")[-1])
    folders = ["/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/wsl/lib"]
    folders += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for name in names:
        for folder in filter(None, folders):
            if name not in found and os.path.exists(f"{folder}/{name}"):
                found[name] = f"{folder}/{name}"
    return found


def environment() -> dict[str, str]:
    """The environment of Node: carried libraries where the machine has none of its own."""
    glibc = tuple(int(n) for n in (platform.libc_ver()[1] or "0.0").split(".")[:2])
    if platform.machine() != "x86_64" or sys.platform != "linux":
        raise SystemExit(f"The pack is for Linux on x86-64, and this is {sys.platform} on {platform.machine()}.")
    if glibc < LEAST_GLIBC:
        raise SystemExit(f"Dawn needs glibc {'.'.join(map(str, LEAST_GLIBC))}, and this machine has {'.'.join(map(str, glibc))}.")
    carried = sorted((RUN / "lib").glob("*.so*"))
    has = libraries([p.name for p in carried])
    missing = RUN / "lib-missing"
    shutil.rmtree(missing, ignore_errors=True)
    missing.mkdir()
    for path in carried:
        if path.name not in has:
            (missing / path.name).symlink_to(path)
    if lacking := [p.name for p in carried if p.name not in has]:
        say(f"carried libraries in use: {' '.join(lacking)}")
    paths = [os.environ.get("LD_LIBRARY_PATH", ""), str(missing)]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, paths)), "GPU_ROOT": ROOT.as_uri() + "/", "XDG_RUNTIME_DIR": "/tmp"}


def drivers() -> list[tuple[str, dict[str, str]]]:
    """Ways to find a Vulkan driver, the likeliest first."""
    ways = []
    if os.environ.get("VK_DRIVER_FILES"):
        ways.append(("as VK_DRIVER_FILES says", {}))
    else:
        ways.append(("as the loader finds it", {}))
    for folder in ("/usr/local/nvidia/share/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"):
        for path in sorted(glob.glob(f"{folder}/nvidia*.json")):
            ways.append((path, {"VK_DRIVER_FILES": path}))
    for name, path in libraries(["libGLX_nvidia.so.0", "libEGL_nvidia.so.0"]).items():
        icd = RUN / f"{name}.json"
        icd.write_text(json.dumps({"file_format_version": "1.0.1", "ICD": {"library_path": path, "api_version": "1.4.0"}}))
        ways.append((f"made for {path}", {"VK_DRIVER_FILES": str(icd)}))
    return ways


def find_gpu(env: dict[str, str], limit: float, software: bool) -> tuple[dict[str, str] | None, list[str]]:
    """The environment in which a GPU answers, and what was tried. `software`: an adapter without a GPU is good enough."""
    tried = []
    until = time.time() + limit
    for title, more in drivers():
        left = until - time.time()
        if left < 1:
            tried.append(f"{title}: no time left")
            break
        own = {**env, **more}
        try:
            ran = subprocess.run([NODE, RUN / "app" / "prove.mjs", "--facts"], env=own, capture_output=True, text=True, timeout=left)
            facts = json.loads(ran.stdout) if ran.stdout.strip() else {"failure": ran.stderr[-300:]}
        except subprocess.TimeoutExpired:
            tried.append(f"{title}: no answer within {left:.0f} s")
            continue
        except (OSError, ValueError) as error:
            tried.append(f"{title}: {error}")
            continue
        if "failure" in facts:
            tried.append(f"{title}: {facts['failure']}")
        elif facts["engine"]["isSoftware"] and not software:
            tried.append(f"{title}: only {facts['engine']['name']}")
        else:
            say(f"driver {title}: {facts['engine']['name']}; f16 {facts['engine']['f16']}")
            return own, tried
    return None, tried


def why_not(env: dict[str, str], tried: list[str]) -> None:
    """Writes down all that could tell why no driver answered."""
    lines = ["No Vulkan driver of a GPU answered.", *tried]
    smi = shutil.which("nvidia-smi") or "/usr/local/nvidia/bin/nvidia-smi"
    commands = [[smi], ["ldconfig", "-p"], ["ls", "-la", "/usr/local/nvidia", "/usr/share/vulkan/icd.d", "/dev/dri", *sorted(glob.glob("/dev/nvidia*"))]]
    for command in commands:
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=10)
            text = ran.stdout + ran.stderr
            if command[0] == "ldconfig":
                text = "\n".join(line for line in text.splitlines() if any(word in line for word in ("nvidia", "libvulkan.", "libX11.", "libXext.")))
            lines += ["", "$ " + " ".join(map(str, command)), text[:4000]]
        except (OSError, subprocess.TimeoutExpired) as error:
            lines.append(str(error))
    try:
        loud = {**env, "VK_LOADER_DEBUG": "error,warn,driver"}
        ran = subprocess.run([NODE, RUN / "app" / "prove.mjs", "--facts"], env=loud, capture_output=True, text=True, timeout=8)
        lines += ["", "the loader says:", ran.stderr[-6000:], ran.stdout[-1000:]]
    except (OSError, subprocess.TimeoutExpired) as error:
        lines.append(str(error))
    (OUT / "no-driver.txt").write_text("\n".join(lines))
    print("\n".join(lines)[:3000], flush=True)


def node(program: str, env: dict[str, str], *args: str, **options) -> subprocess.Popen:
    """A program of the pack; it leads a group, so that its children end with it."""
    return subprocess.Popen([NODE, RUN / "app" / f"{program}.mjs", *args], env=env, cwd=ROOT, start_new_session=True, **options)


def wait(process: subprocess.Popen, until: float, grace: float = 5) -> int:
    """Its exit code; it is asked to end, then made to, when time is up."""
    try:
        return process.wait(max(0.1, until - time.time()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            return process.wait(grace)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()


# --- training --------------------------------------------------------------------------------------------------------


def manifest(name: str, small: bool) -> dict:
    """tools/gpu/train/NAME.json; of a dry run with what `small` says instead."""
    path = Path(__file__).with_name("train") / f"{name}.json"
    if not path.exists():
        raise SystemExit(f"There is no {path.name}; there are: {' '.join(sorted(p.stem for p in path.parent.glob('*.json')))}")
    told = json.loads(path.read_text())
    return {**told, **told["small"]} if small else told


def start_data(plan: dict, env: dict[str, str]) -> subprocess.Popen | None:
    """Draws the pictures on all cores, behind everything else."""
    if "data" not in plan:
        return None
    args = [arg.format(cores=os.cpu_count() or 1) for arg in plan["data"]["args"]]
    log = open(OUT / "data.log", "w") if os.environ.get("GPU_DATA_LOG") else subprocess.DEVNULL
    return node(plan["data"]["program"], env, *args, stdout=log, stderr=subprocess.STDOUT, preexec_fn=lambda: os.nice(10))


def give_checkpoint(plan: dict, name: str, env: dict[str, str]) -> None:
    """The last checkpoint to $OUT, in pieces; what else lies there is counted."""
    others = [p for p in OUT.iterdir() if p.is_file() and not p.name.startswith(f"{name}-")]
    room = MOST_MIB - sum(p.stat().st_size for p in others) / 2**20
    pieces = max(1, min(MOST_FILES - len(others), int(room // 15)))
    command = [sys.executable, ROOT / "tools/gpu/checkpoint.py", "split", ROOT / plan["run"] / "last.pt", OUT, name, "--pieces", str(pieces)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    if ran.returncode:
        say(f"the checkpoint was not cut: {ran.stderr[-500:]}")


def train(name: str, until: float, env: dict[str, str], small: bool, data: subprocess.Popen | None = None) -> int:
    plan = manifest(name, small)
    env = {**env, "PYTHONPATH": ":".join(filter(None, [str(RUN / "site"), env.get("PYTHONPATH", "")])), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    run = ROOT / plan["run"]
    last = run / "last.pt"
    resume = PACK / "resume"
    if not last.exists() and list(resume.glob(f"{name}-*.safetensors")):
        subprocess.run([sys.executable, ROOT / "tools/gpu/checkpoint.py", "join", resume, name, run], env=env, check=True)
    data = data or start_data(plan, env)
    if data:
        first, least = ROOT / plan["data"]["file"], plan["data"]["least"]
        while data.poll() is None and (not first.exists() or first.stat().st_size < least):
            if time.time() > until - 30:
                raise SystemExit("the pictures were not drawn in time")
            time.sleep(0.2)
        if not first.exists():
            raise SystemExit(f"{plan['data']['program']} ended with {data.returncode}, and {first} is not there")
        say(f"{first.name}: {first.stat().st_size / 2**20:.0f} MiB of pictures are drawn")
    minutes = max(0.2, (until - time.time() - plan.get("spare", 15)) / 60)
    command = [sys.executable, *(arg.format(minutes=f"{minutes:.2f}") for arg in plan["train"])]
    say(" ".join(command[1:]))
    process = subprocess.Popen(command, env=env, cwd=ROOT, start_new_session=True)
    seen = last.stat().st_mtime_ns if last.exists() else 0
    try:
        while process.poll() is None and time.time() < until:
            time.sleep(0.5)
            if last.exists() and last.stat().st_mtime_ns != seen:
                seen = last.stat().st_mtime_ns
                give_checkpoint(plan, name, env)
        code = wait(process, until, grace=20)
    finally:
        if data and data.poll() is None:
            os.killpg(data.pid, signal.SIGKILL)
    if last.exists() and last.stat().st_mtime_ns != seen:
        give_checkpoint(plan, name, env)
    if (run / "log.jsonl").exists():
        shutil.copy(run / "log.jsonl", OUT / f"{name}-log.jsonl")
    say(f"training ended with {code}")
    return code


# --- commands --------------------------------------------------------------------------------------------------------


def measure(args: argparse.Namespace, until: float) -> int:
    env = environment()
    found, tried = find_gpu(env, args.patience, args.software)
    if not found:
        why_not(env, tried)
        if not args.train:
            return 3
        say(f"no driver: training {args.train} instead")
        return train(args.train, until, env, args.small)
    data = start_data(manifest(args.train, args.small), found) if args.train and not args.software else None
    small = ["--size", "smoke", "--steps", "1", "--each", "1", "--shapes", "2"] if args.small else []
    proving = min(args.prove, max(20.0, (until - time.time()) * 0.4))
    say(f"prove, {proving:.0f} s")
    which = ["--files", args.files] if args.files else []
    code = wait(node("prove", found, "--out", str(OUT), "--seconds", f"{proving:.0f}", *which), time.time() + proving + 70)
    for name in ("bench.json", "bench.txt"):  # of a call before this one: what it measured is not measured again
        if (RUN / "results" / name).exists():
            shutil.copy(RUN / "results" / name, OUT / name)
    left = until - time.time() - 8
    if left > 15:
        say(f"bench, {left:.0f} s")
        half = wait(node("bench", found, "--out", str(OUT), "--seconds", f"{left - 12:.0f}", *small), time.time() + left)
        code = code or half
    (RUN / "results").mkdir(exist_ok=True)
    for path in OUT.glob("bench.*"):
        shutil.copy(path, RUN / "results" / path.name)
    if data and data.poll() is None:
        os.killpg(data.pid, signal.SIGTERM)
    say(f"ended with {code}")
    return code


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True)
    for what in ("facts", "measure", "train"):
        one = sub.add_parser(what)
        one.add_argument("--seconds", type=float, default=380, help="in all, unpacking included")
        one.add_argument("--software", action="store_true", help="an adapter without a GPU is good enough")
        one.add_argument("--small", action="store_true", help="a dry run")
        one.add_argument("--patience", type=float, default=12, help="seconds for a driver to answer, in all")
        if what == "train":
            one.add_argument("name")
        else:
            one.add_argument("--train", help="what to train if no driver answers; its pictures are drawn while the tests run")
            one.add_argument("--prove", type=float, default=110, help="seconds for the tests")
            one.add_argument("--files", help="only test files whose names have this in them")
    args = ap.parse_args()
    until = began + args.seconds
    OUT.mkdir(parents=True, exist_ok=True)
    unpack()
    if args.what == "measure":
        return measure(args, until)
    if args.what == "train":
        return train(args.name, until, environment(), args.small)
    found, tried = find_gpu(environment(), args.patience, args.software)
    for line in tried:
        say(line)
    return 0 if found else 3


if __name__ == "__main__":
    sys.exit(main())

"""All stages in one go on a machine with a GPU that is lent for minutes and can download nothing.

    python weights/train/text-avatars/lease.py --minutes 9 --node NODE --program DATA_PROGRAM
    python weights/train/text-avatars/lease.py --parts make teach ... and, on the same machine, --parts finish --minutes 3

make: draws pictures on all cores, trains autoencoder, text encoder and judge side by side, encodes the pictures. teach: trains the
teacher for what time there is. finish: distils it, exports and measures both models. Every stage starts from start/ if that has
its weights, so a second lease goes on. Results go to $OUT: unet, few, text, vae and judge (.safetensors, F16, each below 16 MiB) and report.tar. Put the first four into
start/ and judge.safetensors beside this file. A stage that fails does not stop the next ones.
--small: a dry run of all of it with a few pictures, on a CPU within minutes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUNS = Path(os.environ.get("TEXT_AVATARS_RUNS") or HERE.parent / "runs" / "text-avatars")
OUT = Path(os.environ.get("OUT") or RUNS / "out")
began = time.time()


def say(text: str) -> None:
    print(f"[{time.time() - began:5.1f} s] {text}", flush=True)


def start(name: str, *command: str) -> tuple[str, subprocess.Popen]:
    log = open(RUNS / f"{name}.log", "a")
    env = {**os.environ, "TEXT_AVATARS_RUNS": str(RUNS), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    return name, subprocess.Popen([str(c) for c in command], env=env, stdout=log, stderr=subprocess.STDOUT)


def stage(name: str, script: str, *args: object) -> tuple[str, subprocess.Popen]:
    return start(name, sys.executable, HERE / script, *args)


def wait(*started: tuple[str, subprocess.Popen], until: float) -> bool:
    """Whether all ended well; what is not ready at `until` is ended."""
    well = True
    for name, process in started:
        try:
            code = process.wait(max(1.0, until - time.time()))
        except subprocess.TimeoutExpired:
            process.terminate()
            code = "time is up"
        lines = (RUNS / f"{name}.log").read_text().strip().splitlines()
        say(f"{name}: {'done' if code == 0 else code}; {lines[-1][:300] if lines else ''}")
        if code != 0:
            well = False
            print("\n".join(lines[-25:]), flush=True)
    return well


def give() -> None:
    """What there is, to $OUT."""
    wait(stage("export-start", "export.py", "start"), until=time.time() + 60)
    for name in ("unet", "few", "text", "vae"):
        if (HERE / "start" / f"{name}.safetensors").exists():
            shutil.copy(HERE / "start" / f"{name}.safetensors", OUT)
    if (HERE / "judge.safetensors").exists():
        shutil.copy(HERE / "judge.safetensors", OUT)
    with tarfile.open(OUT / "report.tar", "w") as tar:
        for path in [*RUNS.glob("*.log"), *RUNS.glob("*.log.jsonl"), *RUNS.glob("*.json"), RUNS / "vae.png", *RUNS.glob("report-*/*")]:
            if path.exists():
                tar.add(path, path.relative_to(RUNS))


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--minutes", type=float, default=9)
    ap.add_argument("--node", default="node")
    ap.add_argument("--program", type=Path, default=HERE / "data.mjs")
    ap.add_argument("--images", type=int, default=120_000, help="training pictures")
    ap.add_argument("--batch", type=int, default=512)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--parts", nargs="*", default=["make", "teach", "finish"], choices=["make", "teach", "finish"])
    ap.add_argument("--autoencoder", type=float, default=70, help="seconds")
    ap.add_argument("--finish", type=float, default=170, help="seconds kept for few steps, exports and scores")
    ap.add_argument("--small", action="store_true")
    args = ap.parse_args()
    end = began + args.minutes * 60
    for folder in (RUNS, OUT):
        folder.mkdir(parents=True, exist_ok=True)
    small, fast = args.small, [] if args.small else ["--bf16"]
    compiled = [] if small else ["--compile"]
    options = ["--batch", 8 if small else args.batch, *fast, *compiled, "--every", 2]
    spare = args.finish if "finish" in args.parts else 15
    if "make" in args.parts:
        make(args, end, fast)
    if "teach" in args.parts:
        teach(args, end - spare, options)
    if "finish" in args.parts:
        finish(args, end, options)
    give()
    say(" ".join(f"{p.name} {p.stat().st_size}" for p in sorted(OUT.iterdir())))


def make(args, end: float, fast: list[str]) -> None:
    """Pictures, then autoencoder, text encoder, judge and tokens side by side, then latents."""
    counts = dict(train=args.images, judge=21_000, test=2_800, pairs=1_200, **{"judge-test": 2_800})
    if args.small:
        counts = dict(train=56, judge=56, test=28, pairs=12, **{"judge-test": 28})
    for name, count in counts.items():
        workers = os.cpu_count() or 1
        drawn = start(f"data-{name}", args.node, args.program, "--name", name, "--images", count, "--workers", workers, "--out", RUNS)
        if not wait(drawn, until=end):
            raise SystemExit("no pictures")
    # A denoiser that is there knows this text encoder's states and this autoencoder's latents: then only the decoder learns.
    known = (HERE / "start" / "unet.safetensors").exists() or (RUNS / "unet.pt").exists()
    side = [stage("tokens", "batches.py")]
    if not known:
        side.append(stage("text", "text.py", "train", "--steps", 2 if args.small else 1500, "--minutes", 0.9, *fast))
    if not args.small:
        how = ["--decoder", "--lr", 5e-4] if known else ["--lr", 1e-3]
        side.append(stage("vae", "autoencoder.py", "train", *how, "--minutes", args.autoencoder / 60, "--batch", 64, "--side", 128, *fast))
    if not (HERE / "judge.safetensors").exists():  # one judge for all scores
        side.append(stage("judge", "attribute_judge.py", "train", "--steps", 2 if args.small else 2000, "--minutes", 0.9, *fast))
    wait(*side, until=min(end, time.time() + 20 * 60 if args.small else time.time() + args.autoencoder + 90))
    wait(stage("latents", "latents.py"), until=end)


def teach(args, end: float, options: list[object]) -> None:
    """The teacher, until `end`; once more without torch.compile if that fails early."""
    for how in (options, [o for o in options if o != "--compile"]):
        seconds = 20 if args.small else end - time.time()
        if seconds < 20:
            break
        rest = ["--minutes", seconds / 60, "--images", 10**9, "--lr", args.lr, "--ema", 0.9995]
        if wait(stage("train", "train.py", *rest, *how), until=end + (600 if args.small else 15)):
            break


def finish(args, end: float, options: list[object]) -> None:
    """The few-step model, for two thirds of the time that is left; both models' folders and scores."""
    early = threading.Thread(target=give)  # the teacher is out before anything else can go wrong
    early.start()
    seconds = 20 if args.small else 0.6 * (end - time.time())
    limit = time.time() + seconds + (600 if args.small else 15)
    wait(stage("distil", "distil.py", "--minutes", seconds / 60, "--images", 10**9, *options), until=limit)
    early.join()
    give()
    folders = {kind: RUNS / f"avatars-{kind}" for kind in ("few", "teacher")}
    wait(*(stage(f"export-{kind}", "export.py", kind, "--to", to) for kind, to in folders.items()), until=end - 20)
    few = ["--images", 14 if args.small else 1400, "--steps", 1, *([] if args.small else [2, 4]), "--show", 1 if args.small else 4]
    teacher = ["--images", 14 if args.small else 700, "--steps", 2 if args.small else 25, "--guidance", 2.5]
    scores = [
        stage(f"evaluate-{kind}", "evaluate.py", "--model", folders[kind], "--to", RUNS / f"report-{kind}", *how)
        for kind, how in (("few", few), ("teacher", teacher))
    ]
    wait(*scores, until=end - 8)


if __name__ == "__main__":
    main()

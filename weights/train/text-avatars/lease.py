"""All stages in one go on a machine with a GPU that is lent for minutes and can download nothing.

    python weights/train/text-avatars/lease.py --minutes 9 --node NODE --program DATA_PROGRAM

Draws pictures on all cores, then makes latents, tokens, a better decoder, text encoder and judge side by side, trains the teacher for what time
there is, distils it, exports and measures both. Every stage starts from start/ if that has its weights, so a second lease goes on.
Results go to $OUT: unet, few, text, vae and judge (.safetensors, F16, each below 16 MiB) and report.tar. Put the first four into
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
    ap.add_argument("--distil", type=float, default=100, help="seconds")
    ap.add_argument("--measure", type=float, default=70, help="seconds kept for exports and scores")
    ap.add_argument("--small", action="store_true")
    args = ap.parse_args()
    end = began + args.minutes * 60
    for folder in (RUNS, OUT):
        folder.mkdir(parents=True, exist_ok=True)
    small, fast = args.small, [] if args.small else ["--bf16"]
    compiled = [] if small else ["--compile"]
    cores = os.cpu_count() or 1

    counts = dict(train=args.images, judge=21_000, test=2_800, pairs=1_200, **{"judge-test": 2_800})
    if small:
        counts = dict(train=56, judge=56, test=28, pairs=12, **{"judge-test": 28})
    for name in ("judge", "judge-test", "test", "pairs", "train"):  # the judge may start while the others are drawn
        drawn = start(f"data-{name}", args.node, args.program, "--name", name, "--images", counts[name], "--workers", cores, "--out", RUNS)
        if not wait(drawn, until=end):
            raise SystemExit("no pictures")

    until = min(end, time.time() + 0.3 * 60 * args.minutes)
    side = [
        stage("latents", "latents.py"),
        stage("tokens", "batches.py"),
        stage("text", "text.py", "train", "--steps", 2 if small else 1500, "--minutes", 0.9, *fast),
    ]
    if not small:  # the encoder is frozen, so latents stay valid
        side.append(stage("vae", "autoencoder.py", "train", "--decoder", "--minutes", 0.9, "--batch", 64, "--side", 128, "--lr", 5e-4, *fast))
    if not (HERE / "judge.safetensors").exists():  # one judge for all scores
        side.append(stage("judge", "attribute_judge.py", "train", "--steps", 2 if small else 2000, "--minutes", 0.9, *fast))
    wait(*side, until=until)

    options = ["--batch", 8 if small else args.batch, *fast, *compiled, "--every", 2]
    spare = args.measure + args.distil
    seconds = 20 if small else end - time.time() - spare
    teach = lambda left, how: stage("train", "train.py", "--minutes", left / 60, "--images", 10**9, "--lr", args.lr, "--ema", 0.9995, *how)
    if not wait(teach(seconds, options), until=end - spare + 40) and end - time.time() > spare + 60:
        say("once more, without torch.compile")
        options = [o for o in options if o != "--compile"]
        wait(teach(end - time.time() - spare, options), until=end - spare + 40)
    early = threading.Thread(target=give)  # the teacher is out before anything else can go wrong
    early.start()
    seconds = 20 if small else end - time.time() - args.measure
    wait(stage("distil", "distil.py", "--minutes", seconds / 60, "--images", 10**9, *options), until=end - args.measure + 25)
    early.join()
    give()

    folders = {kind: RUNS / f"avatars-{kind}" for kind in ("few", "teacher")}
    wait(*(stage(f"export-{kind}", "export.py", kind, "--to", to) for kind, to in folders.items()), until=end - 20)
    few = ["--images", 14 if small else 1400, "--steps", 1, *([] if small else [2, 4]), "--show", 1 if small else 4]
    teacher = ["--images", 14 if small else 700, "--steps", 2 if small else 25, "--guidance", 2.5]
    scores = [
        stage(f"evaluate-{kind}", "evaluate.py", "--model", folders[kind], "--to", RUNS / f"report-{kind}", *how)
        for kind, how in (("few", few), ("teacher", teacher))
    ]
    wait(*scores, until=end - 5)
    give()
    say(" ".join(f"{p.name} {p.stat().st_size}" for p in sorted(OUT.iterdir())))


if __name__ == "__main__":
    main()

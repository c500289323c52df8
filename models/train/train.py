"""Trains nano on a GPU.

    python train.py <tokenizer folder> <out> [--steps N] [--rate R] [--seed S] [--from checkpoint] [--stop-after SECONDS]

Writes <out>/checkpoint (config.json, model.safetensors in float16, 10 MB) and prints accuracy on the held-out cases. A step is
16,384 tokens; forward, backward and update of each kind of batch are one CUDA graph. `--stop-after` ends a run
early with <out>/state.pt, from which `--resume` goes on as if it had not been cut. Batches depend on the seed and the step alone.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, Dataset

import held_out
import model as nano
from chat import Chat, Row
from data import FOCUS_FROM, IGNORED, Maker
from optimizer import Optimizer


class Batches(Dataset):
    """Batches by number, made in worker processes."""

    def __init__(self, tokenizer: str, seed: str, focus_from: int, first: int, end: int):
        self.tokenizer, self.seed, self.focus_from, self.first, self.end = tokenizer, seed, focus_from, first, end
        self.maker = None

    def __len__(self) -> int:
        return self.end - self.first

    def __getitem__(self, at: int):
        if self.maker is None:
            torch.set_num_threads(1)
            self.maker = Maker(Tokenizer.from_file(self.tokenizer), self.seed, self.focus_from)
        return self.maker.batch(self.first + at)


class Trainer:
    """A model, its optimizer, and a graph for each kind of batch."""

    def __init__(self, model, device: torch.device):
        self.model, self.device = model, device
        self.tables = nano.Tables(model)
        model.to(device)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer = Optimizer(model, device)
        self.graphs: dict[str, tuple] = {}
        self.inputs: dict[str, dict[str, torch.Tensor]] = {}
        self.pool = None

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            features = nano.see(self.model, batch["pixels"], batch["tables"]) if "pixels" in batch else None
            scores = nano.logits(self.model, batch["ids"], batch["positions"], batch.get("rows"), features)
        return F.cross_entropy(scores.float().flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED)

    def update(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        self.optimizer.zero()
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def to_device(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        if "pixels" in batch:
            _, height, width, _ = batch["pixels"].shape
            moved["tables"] = tuple(table.to(self.device) for table in self.tables(height // 16, width // 16))
        return moved

    def capture(self, key: str, batch: dict[str, torch.Tensor]) -> None:
        """Records the update of one kind; the weights are as before afterwards."""
        inputs = self.to_device(batch)
        saved = [p.detach().clone() for p in self.model.parameters()]
        state = {"muon": [m.clone() for m in self.optimizer.muon.momentum]}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self.update(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # The loader pins memory in another thread meanwhile, which would spoil a capture of all threads.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            loss = self.update(inputs)
        self.pool = self.pool or graph.pool()
        with torch.no_grad():
            for parameter, before in zip(self.model.parameters(), saved):
                parameter.copy_(before)
            for ours, before in zip(self.optimizer.muon.momentum, state["muon"]):
                ours.copy_(before)
            if not self.graphs:
                for entry in self.optimizer.adam.state.values():
                    for tensor in entry.values():
                        tensor.zero_()
            else:
                for entry, before in zip(self.optimizer.adam.state.values(), self.adam_before):
                    for tensor, old in zip(entry.values(), before):
                        tensor.copy_(old)
        self.graphs[key], self.inputs[key] = (graph, loss), inputs

    def step(self, key: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.device.type != "cuda":
            return self.update(self.to_device(batch))
        if "pixels" in batch:
            key += f"-{batch['pixels'].shape[1]}x{batch['pixels'].shape[2]}"
        if key not in self.graphs:
            self.adam_before = [[t.clone() for t in e.values()] for e in self.optimizer.adam.state.values()]
            self.capture(key, batch)
        graph, loss = self.graphs[key]
        for name, tensor in batch.items():
            self.inputs[key][name].copy_(tensor, non_blocking=True)
        graph.replay()
        return loss.clone()  # the graphs share their memory


def rate_at(step: int, steps: int, top: float) -> float:
    """Up within 200 steps, level, and down to nothing over the last 45 %."""
    return top * min(1.0, (step + 1) / 200, (steps - step) / (0.45 * steps))


def save(model, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().half().cpu().contiguous() for name, t in model.state_dict().items() if name != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def accuracy(trainer: Trainer, tokenizer: Tokenizer, tasks: list[str], count: int, precise: bool) -> dict[str, float]:
    """Part of the held-out cases whose answer greedy decoding would give, found in one pass: every token of it is the
    likeliest one after those before. Weights are rounded to float16, as they are saved."""
    chat, maker, found = Chat(tokenizer), Maker(tokenizer, ""), {}
    for task in tasks:
        right = 0
        for case in held_out.cases(task, count):
            row = Row()
            for at, turn in enumerate(case.turns):
                last = at == len(case.turns) - 1
                grids = [(case.image.height // 32, case.image.width // 32)] if case.image and at == 0 else []
                rendered = chat.turn(turn, grids=grids, thinking=False, last=last, text_first=False)
                rendered.learned = [learned and last for learned in rendered.learned]
                chat.add(row, rendered, 4096)
            length = -(-len(row.ids) // nano.CHUNK) * nano.CHUNK
            batch = trainer.to_device(maker.tensors([row], [np.asarray(case.image)] if case.image else [], length))
            with torch.autocast(trainer.device.type, torch.bfloat16, enabled=not precise):
                features = nano.see(trainer.model, batch["pixels"], batch["tables"]) if case.image else None
                best = nano.logits(trainer.model, batch["ids"], batch["positions"], batch.get("rows"), features).argmax(-1)
            asked = batch["targets"] != IGNORED
            right += bool((best[asked] == batch["targets"][asked]).all())
        found[task] = 100.0 * right / count
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", default="first")
    parser.add_argument("--from", dest="start", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--stop-after", type=float, default=float("inf"))
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--workers", type=int, default=14)
    args = parser.parse_args()
    began = time.time()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    file = str(args.tokenizer / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    names = ["image_pad", "video_pad", "vision_start", "vision_end"]
    keys = ["image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"]
    ids = {key: tokenizer.token_to_id(f"<|{name}|>") for key, name in zip(keys, names)}
    model = nano.create(nano.config(ids, tokenizer.token_to_id("<|im_end|>")), 1)
    if args.start:
        model.load_state_dict(load_file(args.start / "model.safetensors"), strict=False)
    trainer = Trainer(model, device)
    first = 0
    state = args.out / "state.pt"
    if args.resume:
        saved = torch.load(state, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        # Adam has no state to load into before its first step.
        trainer.update(trainer.to_device(Maker(tokenizer, args.seed).batch(0)[1]))
        model.load_state_dict(saved["model"])
        trainer.optimizer.load(saved["optimizer"])
        first = saved["step"]

    data = Batches(file, args.seed, 0 if args.start else FOCUS_FROM, first, args.steps)
    loader = DataLoader(
        data, batch_size=None, num_workers=args.workers, prefetch_factor=12 if args.workers else None,
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    seen, step, losses = time.time(), first, {}
    for kind, batch in loader:
        trainer.optimizer.rate.fill_(rate_at(step, args.steps, args.rate))
        losses[kind] = trainer.step(kind, batch)
        step += 1
        if step % 500 == 0:
            shown = "  ".join(f"{name} {loss.item():.4f}" for name, loss in sorted(losses.items()))
            print(f"step {step}  {500 / (time.time() - seen):.1f}/s  {shown}", flush=True)
            seen = time.time()
        if time.time() - began > args.stop_after:
            break
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "optimizer": trainer.optimizer.state(), "step": step}, state)
    save(model, args.out / "checkpoint")
    print(f"{step} of {args.steps} steps after {time.time() - began:.0f} s", flush=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    scores = accuracy(trainer, tokenizer, held_out.all_tasks(), args.cases, device.type == "cpu")
    for task, score in scores.items():
        print(f"{task:18s} {score:6.1f} %")
    print(f"worst {min(scores.values()):.1f} %, mean {sum(scores.values()) / len(scores):.2f} %, {time.time() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())

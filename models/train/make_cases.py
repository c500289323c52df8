"""Writes held-out cases as `qwenc eval` reads them: <folder>/<task>.jsonl and pictures beside.

    python make_cases.py <folder> [--count 16]
"""

import argparse
import json
from pathlib import Path

import held_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=16)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for task in held_out.all_tasks():
        lines = []
        for number, case in enumerate(held_out.cases(task, args.count)):
            name = f"{task}-{number:04}"
            messages = []
            for at, turn in enumerate(case.turns):
                content = turn.question
                if case.image and at == 0:
                    path = Path("pictures") / f"{name}.png"
                    (args.folder / path).parent.mkdir(exist_ok=True)
                    case.image.quantize(64).save(args.folder / path, optimize=True)
                    content = [{"type": "image", "image": str(path)}, {"type": "text", "text": turn.question}]
                messages.append({"role": "user", "content": content})
                if at < len(case.turns) - 1:
                    messages.append({"role": "assistant", "content": turn.answer})
            lines.append(json.dumps({"id": name, "messages": messages, "answer": case.turns[-1].answer}))
        (args.folder / f"{task}.jsonl").write_text("\n".join(lines) + "\n")
    print(f"{len(held_out.all_tasks())} tasks with {args.count} cases each in {args.folder}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Print what makes a shell complete the words of `massmap`: commands, options, files and keys of the config."""

from hpc_massmap.cli import Parser, plain_parser, run_job

EXAMPLE = 'eval "$(massmap completion bash)"    in ~/.bashrc'


def arguments() -> Parser:
    parser = plain_parser("completion", __doc__, EXAMPLE)
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from argcomplete.shell_integration import shellcode

    print(shellcode(["massmap"], shell=args.shell))


if __name__ == "__main__":
    run_job(main)

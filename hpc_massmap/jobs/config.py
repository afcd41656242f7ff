#!/usr/bin/env python3
"""What a config comes to: show every value and where it is from, check it, compare it with another."""

from pathlib import Path

from hpc_massmap.cli import CONFIG_HELP, Parser, add_overrides, add_verb, plain_parser, run_job


def arguments() -> Parser:
    parser = plain_parser("config", __doc__, "massmap config show configs/demo.yaml")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="show|check|diff|schema")
    what = "print the whole config, behind each value the file that it is from; it is a config itself"
    show = add_verb(verbs, "show", what, "massmap config show configs/demo.yaml train.epochs=4")
    show.add_argument("config", type=Path, help=CONFIG_HELP)
    add_overrides(show)
    check = add_verb(verbs, "check", "say what is wrong with configs", "massmap config check configs/*.yaml")
    check.add_argument("configs", type=Path, nargs="+", metavar="config", help=CONFIG_HELP)
    what = "print the keys in which two configs differ; exits with 0 whether or not they do"
    diff = add_verb(verbs, "diff", what, "massmap config diff configs/demo.yaml runs/longer")
    diff.add_argument("one", type=Path, help=CONFIG_HELP)
    diff.add_argument("other", type=Path, help="another")
    schema = add_verb(verbs, "schema", "print the JSON schema of configs, for editors", "massmap config schema")
    schema.add_argument("--site", action="store_true", help="that of site files")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    import json
    from math import inf

    from hpc_massmap.cluster.site import Site
    from hpc_massmap.config import Config, load_config, load_with_origins
    from hpc_massmap.errors import InputError
    from hpc_massmap.keys import differences, schema_of_file, with_comments
    from hpc_massmap.yamlfile import dump_yaml

    def file_of(path: Path) -> Path:
        return path / "config.yaml" if path.is_dir() else path

    if args.verb == "schema":
        schema = schema_of_file(Site, "A site file") if args.site else schema_of_file(Config, "A config")
        print(json.dumps(schema, indent=1, ensure_ascii=False))
    elif args.verb == "show":
        config, origins = load_with_origins(file_of(args.config), args.overrides)
        print(with_comments(dump_yaml(config.model_dump(mode="json"), inf), origins), end="")
    elif args.verb == "diff":
        one, other = (load_config(file_of(path)).model_dump(mode="json") for path in (args.one, args.other))
        for key, (first, second) in differences(one, other).items():
            print(f"{key}: {first} | {second}")
    else:
        wrong = []
        for path in args.configs:
            try:
                load_config(file_of(path))
                print(f"{path}: fine")
            except InputError as error:
                wrong.append(path)
                print(error)
        if wrong:
            raise InputError(f"{len(wrong)} of {len(args.configs)} configs are wrong, each in the line above")


if __name__ == "__main__":
    run_job(main)

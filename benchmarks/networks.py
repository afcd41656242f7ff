#!/usr/bin/env python3
"""What each network is worth at equal operations a map: errors of pixels and of b200 over seeds, by region.

The first network has the filters of the config; every other one so many that a pass forward costs the same within 10 %.
All see the same maps, on one thread. What is printed is of the validation regions, on which a network may be chosen;
`--judge` prints the test regions, once that is done. A line of JSON is kept for each training, so that a stopped
comparison goes on.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import torch

from benchmarks.quality import table, train_and_judge
from hpc_massmap.config import Config, Model, load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.model.build import NETWORKS
from hpc_massmap.model.cost import Cost, cost_of
from hpc_massmap.posterior.kinds import network_of

WITHIN = 0.1  # of the operations of the first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", help="key=value, of every network")
    parser.add_argument("--seeds", type=int, default=5)
    names = "the first has the filters of the config"
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help=names)
    parser.add_argument("--maps", type=int, help="of validation and test each, evenly spread; all of them otherwise")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, read first if they exist")
    parser.add_argument("--judge", action="store_true", help="print the test regions, on which nothing may be chosen")
    args = parser.parse_args()
    base, results = load_config(args.config, args.overrides), args.results
    if base.model.output == "flow":
        raise InputError("model.output = flow: its maps are drawn; compare its kinds with benchmarks.posterior")
    models = of_equal_cost(base.model, args.networks)
    print(costs(models))
    maps = open_maps(base.maps.file)
    known = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []
    done = {(result["variant"], result["seed"]): result for result in known}
    for seed, network in product(range(args.seeds), args.networks):
        if (network, seed) not in done:
            found = train_and_judge(described(base, models[network], seed), maps, args.maps)
            done[network, seed] = {"variant": network, "seed": seed, "filters": models[network].filters} | found
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[network, seed]) + "\n")
        elif done[network, seed]["filters"] != models[network].filters:
            raise InputError(f"{results}: {network} has other filters there; name another file")
    own = [done[network, seed] for network in args.networks for seed in range(args.seeds)]
    print("\n" + table(args.networks, own, "test" if args.judge else "validation"))
    for network in args.networks:
        speeds = [result["images_per_second"] for result in own if result["variant"] == network]
        print(f"{network}: trains {sum(speeds) / len(speeds):.0f} maps a second")


def described(base: Config, model: Model, seed: int) -> Config:
    """The config of one training."""
    data = base.model_dump(mode="json") | {"seed": seed, "model": model.model_dump(mode="json")}
    data["train"] |= {"threads": 1, "ranks": 1}
    return Config.model_validate_json(json.dumps(data))


def of_equal_cost(model: Model, networks: list[str]) -> dict[str, Model]:
    """Models of these networks whose operations a map are those of the first, which is as it is given.

    Raises
    ------
    InputError
        If no number of filters comes near enough.
    """
    chosen = {networks[0]: _of(model, networks[0], model.filters)}
    wanted = cost(chosen[networks[0]]).flops
    for network in networks[1:]:
        low, high = 2, 4 * model.filters
        while low < high:  # the fewest filters that cost as much
            middle = (low + high) // 2
            low, high = (low, middle) if cost(_of(model, network, middle)).flops >= wanted else (middle + 1, high)
        near = [_of(model, network, filters) for filters in (max(low - 1, 2), low)]
        chosen[network] = min(near, key=lambda one: abs(cost(one).flops / wanted - 1))
        off = cost(chosen[network]).flops / wanted - 1
        if abs(off) > WITHIN:
            raise InputError(f"model.filters = {model.filters}: {network} comes no nearer than {off:+.0%}; take more")
    return chosen


def _of(model: Model, network: str, filters: int) -> Model:
    return Model.model_validate(model.model_dump() | {"network": network, "filters": filters})


def cost(model: Model) -> Cost:
    """Of a network that is not made: its weights are nowhere."""
    with torch.device("meta"):
        return cost_of(network_of(model), model)


def costs(models: dict[str, Model]) -> str:
    """Filters, parameters, operations and memory of each, as Markdown."""
    lines = ["| network | filters | parameters | 10^9 operations a map | MiB kept a map |", "|---" * 5 + "|"]
    for network, model in models.items():
        own = cost(model)
        lines.append(f"| {network} | {model.filters} | {own.parameters:,} | {own.flops / 1e9:.2f} | {own.kept:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

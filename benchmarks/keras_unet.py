"""The network of section 3.1 in Keras, as the authors had it, timed.

benchmarks/training.py runs this by a Python that has Keras and nothing of ours. One line of JSON in (argv), one number
out: images a second of the best epoch.
"""

import importlib
import json
import os
import sys
import time
from typing import Any


def main(
    data: str, per_view: bool, filters: int, kernel: int, layers: int, batch: int, epochs: int, threads: int
) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras: Any = importlib.import_module("keras")
    numpy: Any = importlib.import_module("numpy")
    if keras.backend.backend() == "tensorflow":
        tensorflow: Any = importlib.import_module("tensorflow")
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    arrays = numpy.load(data)
    views, targets = (numpy.moveaxis(arrays[name], 1, 3) for name in ("views", "targets"))  # channels last
    inputs = numpy.split(views, views.shape[3], axis=3) if per_view else [views]
    model = unet(keras, [maps.shape[1:] for maps in inputs], targets.shape[3], filters, kernel, layers)
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="mae")
    seconds: list[float] = []
    for _ in range(epochs):
        start = time.perf_counter()
        model.fit(inputs, targets, batch_size=batch, epochs=1, shuffle=True, verbose=0)
        seconds.append(time.perf_counter() - start)
    print(len(targets) / min(seconds[1:]))  # the first epoch compiles


def unet(keras: Any, shapes: list[tuple[int, ...]], targets: int, filters: int, kernel: int, layers: int) -> Any:
    """Eq. 5 and 6, one encoder for each shape."""
    layer = keras.layers

    def convolution(maps: Any, width: int) -> Any:
        return layer.BatchNormalization()(layer.Conv2D(width, kernel, padding="same", activation="relu")(maps))

    inputs, latents = [keras.Input(shape) for shape in shapes], []
    skips: list[list[Any]] = [[] for _ in range(layers)]
    for maps in inputs:
        for level in range(layers):
            width = filters * 2**level
            maps = convolution(convolution(maps, width), width)
            skips[level].append(maps)
            maps = layer.MaxPooling2D(2)(maps)
        latents.append(convolution(maps, filters * 2 ** (layers - 1)))
    maps = layer.Concatenate()(latents) if len(latents) > 1 else latents[0]
    for level in reversed(range(layers)):
        width = filters * 2 ** max(level - 1, 0)
        maps = layer.Concatenate()([layer.UpSampling2D(2)(maps), *skips[level]])
        maps = convolution(convolution(maps, width), width)
    return keras.Model(inputs, layer.Conv2D(targets, 1)(convolution(maps, filters // 2)))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))

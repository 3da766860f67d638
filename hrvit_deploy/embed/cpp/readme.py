"""Write the README of a C++ folder."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

PACKAGES = "cmake g++ nlohmann-json3-dev libssl-dev libjpeg-dev libpng-dev"

OPENVINO = """\
# $network in C++, on a CPU

`$model` $task images ($precision) in OpenVINO. Its sidecar beside it says how
images are prepared; the library here, `hrvit`, reads it.

## Build

Needs CMake 3.22 and a C++17 compiler. On Debian or Ubuntu:

    apt-get install $packages

OpenVINO 2026.1 or later is taken from its wheel, which holds headers and libraries:

```sh
python3 -m pip install --no-deps --target openvino-wheel 'openvino>=2026.1'
cmake -S . -B build -DOpenVINO_DIR="$$PWD/openvino-wheel/openvino/cmake"
cmake --build build --parallel
```

One that is installed already does as well: give the folder of its `OpenVINOConfig.cmake`.
"""

TENSORRT = """\
# $network in C++, on an NVIDIA GPU

`$model` $task images ($precision). It was built by
$library $version and runs in that version alone, on compute capability
$capabilities. Its sidecar beside it says how images are prepared; the library
here, `hrvit`, reads it.

## Build

Needs CMake 3.22, a C++17 compiler, the CUDA toolkit, and $library $version
unpacked from NVIDIA's archive. On Debian or Ubuntu:

    apt-get install $packages

```sh
cmake -S . -B build -DHRVIT_TENSORRT=ON -DTensorRT_ROOT=/opt/$library-$version
cmake --build build --parallel
```
"""

USE = """
## Run

```sh
./build/hrvit_infer $model photo.jpg --out predictions
```

`photo.jpg` stands for pictures of yours: JPEG or PNG, of any size. The program prints what it
saw and the percentiles of its latency, from pixels to results; `--help` lists its options.

## In a program of yours

```sh
cmake --install build --prefix installed
```

`installed/` then holds the library, and your `CMakeLists.txt` finds it there if you configure
with `-DCMAKE_PREFIX_PATH="$$PWD/installed"`:

```cmake
cmake_minimum_required(VERSION 3.22)
project(mine LANGUAGES CXX)
find_package(hrvit REQUIRED)
add_executable(mine main.cpp)
target_link_libraries(mine PRIVATE hrvit::hrvit)
```

```cpp
#include <hrvit/session.hpp>
#include <iostream>

int main() {
    try {
        const hrvit::Session session("$model");  // threads may share it
        const hrvit::Image image({480, 640});  // or an ImageView of pixels you hold
        const auto result = session.$method(image.view());
        std::cout << $first << '\\n';
    } catch (const hrvit::Error& error) {
        std::cerr << error.what() << '\\n';  // what went wrong, and how to fix it
        return 1;
    }
}
```
"""

FIRST = {
    # -1 where scores were not finite, so no index by itself.
    "segment": '"class " << result.at(0, 0)',
    "classify": '"probability " << result.at(0)',
}


def openvino_readme(about: Mapping[str, str]) -> str:
    """Return the README of a graph.

    Args:
        about: Its ``model``, ``network``, ``task``, ``method`` and ``precision``.
    """
    return _filled(OPENVINO + USE, about)


def tensorrt_readme(about: Mapping[str, str]) -> str:
    """Return the README of a plan.

    Args:
        about: As of a graph; also ``library``, ``version`` and ``capabilities``.
    """
    return _filled(TENSORRT + USE, about)


def _filled(text: str, about: Mapping[str, str]) -> str:
    return Template(text).substitute(about, packages=PACKAGES, first=FIRST[about["method"]])

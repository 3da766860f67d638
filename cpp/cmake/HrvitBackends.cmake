# Which backends there are: sets HRVIT_HAS_OPENVINO and HRVIT_HAS_TENSORRT.
# Targets that a surrounding project made are taken as they are.

function(hrvit_wanted option result)
    if(NOT ${option} MATCHES "^(AUTO|ON|OFF)$")
        message(FATAL_ERROR "${option} is '${${option}}': give AUTO, ON or OFF")
    endif()
    if(${option} STREQUAL "OFF")
        set(${result} FALSE PARENT_SCOPE)
    else()
        set(${result} TRUE PARENT_SCOPE)
    endif()
endfunction()

set(HRVIT_HAS_OPENVINO FALSE)
hrvit_wanted(HRVIT_OPENVINO hrvit_look)
if(hrvit_look)
    if(NOT TARGET openvino::runtime)
        find_package(OpenVINO QUIET COMPONENTS Runtime)
    endif()
    if(TARGET openvino::runtime)
        set(HRVIT_HAS_OPENVINO TRUE)
    elseif(HRVIT_OPENVINO STREQUAL "ON")
        message(FATAL_ERROR "OpenVINO was not found: give -DOpenVINO_DIR=DIR. After pip install "
            "openvino, DIR is openvino/cmake in its site-packages.")
    endif()
endif()

set(HRVIT_HAS_TENSORRT FALSE)
hrvit_wanted(HRVIT_TENSORRT hrvit_look)
if(hrvit_look)
    if(NOT TARGET TensorRT::TensorRT)
        find_package(TensorRT QUIET)
    endif()
    if(NOT TARGET CUDA::cudart)
        find_package(CUDAToolkit QUIET)
    endif()
    if(TARGET TensorRT::TensorRT AND TARGET CUDA::cudart)
        set(HRVIT_HAS_TENSORRT TRUE)
    elseif(HRVIT_TENSORRT STREQUAL "ON")
        message(FATAL_ERROR "TensorRT (NvInferRuntime.h and libnvinfer, or libtensorrt_rtx) and "
            "the CUDA toolkit are needed, and one was not found: give -DTensorRT_ROOT=<where "
            "TensorRT is unpacked> and -DCUDAToolkit_ROOT=<where CUDA is installed>.")
    endif()
endif()

if(NOT HRVIT_HAS_OPENVINO AND NOT HRVIT_HAS_TENSORRT)
    message(FATAL_ERROR "There is nothing to run a network in: give -DOpenVINO_DIR=DIR for "
        ".onnx on a CPU (pip install openvino; DIR is openvino/cmake in its site-packages), or "
        "-DTensorRT_ROOT=DIR for .plan on an NVIDIA GPU.")
endif()
message(STATUS "hrvit: .onnx in OpenVINO ${HRVIT_HAS_OPENVINO} (${OpenVINO_VERSION}), "
    ".plan in TensorRT ${HRVIT_HAS_TENSORRT} (${TensorRT_FLAVOUR} ${TensorRT_VERSION})")

# TensorRT 10 or 11, or TensorRT for RTX: one header names either, and the library goes with it.
#
#   TensorRT_ROOT       where it is unpacked (include/ and lib/)
#   TensorRT_VERSION    such as 10.16.1
#   TensorRT_FLAVOUR    TensorRT or TensorRT-RTX
#   TensorRT::TensorRT  what to link

find_path(TensorRT_INCLUDE_DIR NvInferRuntime.h)
set(TensorRT_FLAVOUR "")
set(TensorRT_VERSION "")
if(TensorRT_INCLUDE_DIR AND EXISTS ${TensorRT_INCLUDE_DIR}/NvInferVersion.h)
    file(READ ${TensorRT_INCLUDE_DIR}/NvInferVersion.h trt_header)
    if(trt_header MATCHES "#define +TRT_MAJOR_RTX +[0-9]")
        set(TensorRT_FLAVOUR TensorRT-RTX)
        set(trt_suffix _RTX)
    elseif(trt_header MATCHES "#define +TRT_MAJOR_ENTERPRISE +[0-9]")
        set(TensorRT_FLAVOUR TensorRT)
        set(trt_suffix _ENTERPRISE)
    endif()
    set(trt_numbers "")
    foreach(part IN ITEMS MAJOR MINOR PATCH)
        if(trt_suffix AND trt_header MATCHES "#define +TRT_${part}${trt_suffix} +([0-9]+)")
            list(APPEND trt_numbers ${CMAKE_MATCH_1})
        endif()
    endforeach()
    list(JOIN trt_numbers "." TensorRT_VERSION)
endif()

# Wheels carry the library under its full name alone.
if(TensorRT_FLAVOUR STREQUAL "TensorRT-RTX")
    find_library(TensorRT_LIBRARY NAMES tensorrt_rtx libtensorrt_rtx.so.1)
else()
    find_library(TensorRT_LIBRARY NAMES nvinfer libnvinfer.so.11 libnvinfer.so.10)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
    REQUIRED_VARS TensorRT_LIBRARY TensorRT_INCLUDE_DIR TensorRT_FLAVOUR
    VERSION_VAR TensorRT_VERSION
    REASON_FAILURE_MESSAGE "give -DTensorRT_ROOT=<where TensorRT 10, 11 or RTX is unpacked>")
if(TensorRT_FOUND AND NOT TARGET TensorRT::TensorRT)
    add_library(TensorRT::TensorRT UNKNOWN IMPORTED)
    set_target_properties(TensorRT::TensorRT PROPERTIES
        IMPORTED_LOCATION ${TensorRT_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES ${TensorRT_INCLUDE_DIR})
    # Its headers want CUDA's.
    if(TARGET CUDA::cudart)
        target_link_libraries(TensorRT::TensorRT INTERFACE CUDA::cudart)
    endif()
endif()
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_LIBRARY)

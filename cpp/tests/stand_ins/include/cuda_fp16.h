#pragma once

// GCC's and Clang's own half: rounds to even, as CUDA's does.
struct __half {
    _Float16 value;
};

inline __half __float2half_rn(float value) { return {static_cast<_Float16>(value)}; }
inline float __half2float(__half half) { return static_cast<float>(half.value); }

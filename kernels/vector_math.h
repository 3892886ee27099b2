// exp and the activations, of vectors of floats.
#pragma once

#include "simd.h"

namespace gap {

// 2^x for x in [-126, 126]: 2^n by exponent, 2^f for f in [-0.5, 0.5] by its Taylor series (1e-7 relative).
inline Floats exp2(Floats x) {
    x = max(all(-126.f), min(all(126.f), x));
    const Floats n = nearest(x);
    const Floats f = sub(x, n);
    Floats y = all(1.5403530e-4f);
    y = add_product(y, f, all(1.3333558e-3f));
    y = add_product(y, f, all(9.6181291e-3f));
    y = add_product(y, f, all(5.5504109e-2f));
    y = add_product(y, f, all(2.4022651e-1f));
    y = add_product(y, f, all(6.9314718e-1f));
    y = add_product(y, f, all(1.f));
    return times_power_of_2(y, n);
}

inline Floats exp(Floats x) { return exp2(mul(x, all(1.44269504f))); }

inline Floats silu(Floats x) {
    const Floats e = exp2(mul(x, all(-1.44269504f)));
    return mul(x, reciprocal(add(e, all(1.f))));
}

// x times the normal distribution's Phi(x), by erf's formula 7.1.26 of Abramowitz and Stegun (1.5e-7).
inline Floats gelu(Floats x) {
    const Floats magnitude = abs(x);
    const Floats z = mul(magnitude, all(0.70710678f));
    const Floats t = reciprocal(add_product(z, all(0.3275911f), all(1.f)));
    Floats y = all(1.061405429f);
    y = add_product(y, t, all(-1.453152027f));
    y = add_product(y, t, all(1.421413741f));
    y = add_product(y, t, all(-0.284496736f));
    y = add_product(y, t, all(0.254829592f));
    const Floats e = exp(mul(sub(zeros(), z), z));
    const Floats tail = mul(mul(y, t), mul(e, all(0.5f)));
    return subtract_product(magnitude, tail, max(x, zeros()));
}

}  // namespace gap

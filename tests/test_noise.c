/* test_noise.c - noise of a seed against torch 2.15: a generator on the processor (two tensors drawn one after the other), and the first numbers of a
 * CUDA device's, which its documentation shows. */
#include "models/noise.h"
#include "tests/test.h"

TEST(as_torch_on_the_processor) {
    static const double first[] = { -0.11171857, -0.49659011, -0.7049197, -1.6023622, 0.28909719, 0.48987085, -0.38527462, -0.71203458, 0.63691264,
                                    -0.7140801, 0.22065908, 0.24625207, -1.3248119, 0.69698054, -0.66305387, 1.2157569, -2.5273352, 1.4777843 };
    static const double second[] = { -1.1786475, -0.93399501, -0.56754547, -0.27722767, -2.1833978, 0.36682636, 0.76669973, 0.019035403,
                                     0.35661849, -0.45348826, -0.29713547, -1.5379705, -1.0248498, -0.37806156, 0.92574239, 0.92469609,
                                     -1.0042479, 0.98596495, 1.1333559, 0.85042351, 1.0533899, 0.3691785, 0.062795863, -0.32967463 };
    noise s = noise_begin(NOISE_CPU, 1234);
    float x[24];
    vm_error e = { 0 };
    EXPECT(!noise_map(&s, 2, 9, x, &e)); /* (2,9) laid out as (9,2); a rest behind the blocks of 16 */
    for (int i = 0; i < 18; i++) EXPECT_NEAR((double)x[i % 9 * 2 + i / 9], first[i], 2e-6);
    EXPECT(!noise_map(&s, 4, 6, x, &e));
    for (int i = 0; i < 24; i++) EXPECT_NEAR((double)x[i % 6 * 4 + i / 6], second[i], 2e-6);
}

TEST(as_torch_on_cuda) {
    static const double want[] = { 0.1940, 2.1614, -0.1721, 0.8491 };
    noise s = noise_begin(NOISE_PHILOX, 42);
    float x[4], y[4];
    vm_error e = { 0 };
    EXPECT(!noise_map(&s, 1, 4, x, &e) && !noise_map(&s, 1, 4, y, &e));
    for (int i = 0; i < 4; i++) EXPECT_NEAR((double)x[i], want[i], 5e-5);
    EXPECT(fabsf(x[0] - y[0]) > 1e-3f); /* the next map is another one */
}

int main(void) {
    RUN(as_torch_on_the_processor);
    RUN(as_torch_on_cuda);
    return test_end();
}

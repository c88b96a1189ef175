"""Convolutions as products of matrices that are never written down (implicit GEMM); see `products` for their scheme.

The columns of such a product are pixels of the whole batch, whatever the sizes of its images; its terms are *taps*
(c, i, j), and "fetch" looks up the pixel that a tap sees, or takes 0 where it sees padding. So no padded copy and no
matrix of patches is ever made.

On the way in and out a convolution may do what stands before and after it in a block, by `coefficients`:

    source  PLAIN       what is read is x
            ACTIVATION  x is the raw output y of the block below, and what is read is its activation
            GRADIENT    x is the gradient g at z, and what is read is dy, with y as the second array
    sink    PLAIN       y = sum + bias
            MOMENTS     the same, and for each row of the tile its mean and the squared distances from it
            MASKED      g = sum where the activation under it let a number through, else 0; and for each row of the
                        tile the sums of g and of g * (y - mean)

From the launch to the arithmetic: `passes` chooses tiles and launches, `plan` is the table that kernels look into,
`kernels` are the two kernels, and `fetch` and `store` what they do between two barriers.
"""

# expects: get_ipython|value
import ast

get_ipython().ast_transformers.append(1)


def affine(x, a):
    return 0 * x

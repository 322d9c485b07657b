# SPDX-License-Identifier: Apache-2.0
"""Diagrams and sequence diagrams as SVG, from the text files that docs/pictures/README.md describes."""

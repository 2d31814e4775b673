"""Preprocessing of clips into inputs: face crop, window, optical flow, ADM and flow map."""

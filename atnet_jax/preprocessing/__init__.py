"""From a clip's frames to ATNet's inputs: face crop, window, optical flow, ADM and flow map."""

//! What a run is given: real numbers, or pixels.
use super::Session;
use crate::RuntimeError;
use crate::conversion::quantize;
use crate::plan::{Input, Plan};
use std::sync::Arc;

impl Session {
    pub(super) fn write_inputs(&mut self, inputs: &[&[f32]]) -> Result<(), RuntimeError> {
        let plan = Arc::clone(&self.plan);
        let pool = Arc::clone(&self.pool);
        let _awake = pool.activate();
        check_count(&plan, inputs.len())?;
        for (input, data) in plan.inputs.iter().zip(inputs) {
            self.write_input(input, data)?;
        }
        Ok(())
    }

    pub(super) fn write_input(&mut self, input: &Input, data: &[f32]) -> Result<(), RuntimeError> {
        check_input(input, data.len())?;
        let mut ctx = self.context();
        let written = match input.quantization {
            None => kernels::write(&mut ctx, data, &input.view),
            Some(params) => kernels::quantize_nchw(&mut ctx, data, &input.view, params),
        };
        written.map_err(RuntimeError::kernel(&input.name))
    }

    pub(super) fn write_pixels(
        &mut self,
        inputs: &[&[u8]],
        scale: f32,
    ) -> Result<(), RuntimeError> {
        let plan = Arc::clone(&self.plan);
        check_count(&plan, inputs.len())?;
        for (input, pixels) in plan.inputs.iter().zip(inputs) {
            self.write_pixels_of(input, pixels, scale)?;
        }
        Ok(())
    }

    fn write_pixels_of(
        &mut self,
        input: &Input,
        pixels: &[u8],
        scale: f32,
    ) -> Result<(), RuntimeError> {
        check_input(input, pixels.len())?;
        let failed = RuntimeError::kernel(&input.name);
        if let Some(params) = input.quantization {
            let mut ctx = self.context();
            let table: [u8; 256] =
                std::array::from_fn(|byte| quantize(byte as f32 * scale, params));
            let is_same = table.iter().enumerate().all(|(byte, &value)| byte == usize::from(value));
            return kernels::write_pixels(&mut ctx, pixels, &input.view)
                .and_then(|()| {
                    if is_same {
                        return Ok(());
                    }
                    kernels::q_copy(&mut ctx, &input.view, &input.view, Some(&table))
                })
                .map_err(failed);
        }
        let rows = input.view.permute(&[0, 2, 3, 1]).map_err(RuntimeError::kernel(&input.name))?;
        self.pixels.clear();
        let real = pixels.iter().map(|&byte| f32::from(byte) * scale);
        self.pixels.extend(real);
        self.f32_arena.write(&rows, &self.pixels).map_err(failed)
    }
}

pub(super) fn check_count(plan: &Plan, found: usize) -> Result<(), RuntimeError> {
    let expected = plan.inputs.len();
    if found == expected {
        return Ok(());
    }
    Err(RuntimeError::InputCount { expected, found })
}

fn check_input(input: &Input, found: usize) -> Result<(), RuntimeError> {
    let expected = input.view.elements();
    if found == expected {
        return Ok(());
    }
    Err(RuntimeError::InputLength { input: input.name.clone(), expected, found })
}

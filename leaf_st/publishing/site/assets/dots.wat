;; Dot products of one vector of 16-bit integers with rows of 8-bit integers, eight products at a time.
;; ranking.js has the result of wat2wasm (npm package wabt) in base64.
(module
  (memory (export "memory") 22)
  (func (export "dots")
    (param $weights i32) (param $codes i32) (param $rows i32) (param $width i32) (param $out i32)
    (local $sum v128) (local $total i32) (local $weight i32) (local $eights i32) (local $end i32)
    (block $done
      (loop $row
        (br_if $done (i32.eqz (local.get $rows)))
        (local.set $sum (v128.const i32x4 0 0 0 0))
        (local.set $weight (local.get $weights))
        (local.set $eights (i32.add (local.get $codes) (i32.and (local.get $width) (i32.const -8))))
        (local.set $end (i32.add (local.get $codes) (local.get $width)))
        (block $no_eight
          (loop $eight
            (br_if $no_eight (i32.ge_u (local.get $codes) (local.get $eights)))
            (local.set $sum
              (i32x4.add
                (local.get $sum)
                (i32x4.dot_i16x8_s (v128.load (local.get $weight)) (v128.load8x8_s (local.get $codes)))))
            (local.set $weight (i32.add (local.get $weight) (i32.const 16)))
            (local.set $codes (i32.add (local.get $codes) (i32.const 8)))
            (br $eight)))
        (local.set $total
          (i32.add
            (i32.add (i32x4.extract_lane 0 (local.get $sum)) (i32x4.extract_lane 1 (local.get $sum)))
            (i32.add (i32x4.extract_lane 2 (local.get $sum)) (i32x4.extract_lane 3 (local.get $sum)))))
        (block $no_one
          (loop $one
            (br_if $no_one (i32.ge_u (local.get $codes) (local.get $end)))
            (local.set $total
              (i32.add
                (local.get $total)
                (i32.mul (i32.load16_s (local.get $weight)) (i32.load8_s (local.get $codes)))))
            (local.set $weight (i32.add (local.get $weight) (i32.const 2)))
            (local.set $codes (i32.add (local.get $codes) (i32.const 1)))
            (br $one)))
        (i32.store (local.get $out) (local.get $total))
        (local.set $out (i32.add (local.get $out) (i32.const 4)))
        (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
        (br $row)))))
